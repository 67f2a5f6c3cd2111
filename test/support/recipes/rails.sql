-- As Rails 7.1 migrations make it: the gem audited with jsonb, and a column for the tenant.
CREATE TABLE "accounts" ("id" bigserial PRIMARY KEY, "name" character varying, "created_at" timestamp(6) NOT NULL, "updated_at" timestamp(6) NOT NULL);
CREATE TABLE "audits" (
  "id" bigserial PRIMARY KEY,
  "account_id" bigint,
  "auditable_type" character varying,
  "auditable_id" bigint,
  "associated_type" character varying,
  "associated_id" bigint,
  "user_type" character varying,
  "user_id" bigint,
  "username" character varying,
  "action" character varying,
  "audited_changes" jsonb,
  "version" integer DEFAULT 0,
  "comment" character varying,
  "remote_address" character varying,
  "request_uuid" character varying,
  "created_at" timestamp(6)
);
ALTER TABLE "audits" ADD CONSTRAINT "fk_rails_audits_account" FOREIGN KEY ("account_id") REFERENCES "accounts" ("id");
CREATE INDEX "auditable_index" ON "audits" ("auditable_type", "auditable_id", "version");
CREATE INDEX "associated_index" ON "audits" ("associated_type", "associated_id");
CREATE INDEX "user_index" ON "audits" ("user_id", "user_type");
CREATE INDEX "index_audits_on_request_uuid" ON "audits" ("request_uuid");
CREATE INDEX "index_audits_on_created_at" ON "audits" ("created_at");
