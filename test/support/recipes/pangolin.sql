-- The part of Pangolin's schema that its audit tables stand in.
CREATE TABLE "orgs" ("orgId" varchar PRIMARY KEY, "name" varchar NOT NULL);
CREATE TABLE "user" ("id" varchar PRIMARY KEY, "email" varchar);
CREATE TABLE "sites" ("siteId" serial PRIMARY KEY, "orgId" varchar NOT NULL REFERENCES "orgs" ON DELETE CASCADE);
CREATE TABLE "siteResources" ("siteResourceId" serial PRIMARY KEY, "siteId" integer NOT NULL REFERENCES "sites" ON DELETE CASCADE);
CREATE TABLE "clients" ("id" serial PRIMARY KEY, "orgId" varchar NOT NULL REFERENCES "orgs" ON DELETE CASCADE);

CREATE TABLE "requestAuditLog" (
  "id" serial PRIMARY KEY,
  "timestamp" integer NOT NULL,
  "orgId" text REFERENCES "orgs" ON DELETE CASCADE,
  "action" boolean NOT NULL,
  "reason" integer NOT NULL,
  "actorType" text,
  "actor" text,
  "actorId" text,
  "resourceId" integer,
  "siteResourceId" integer,
  "ip" text,
  "location" text,
  "userAgent" text,
  "metadata" text,
  "headers" text,
  "query" text,
  "originalRequestURL" text,
  "scheme" text,
  "host" text,
  "path" text,
  "method" text,
  "tls" boolean
);
CREATE INDEX "idx_requestAuditLog_timestamp" ON "requestAuditLog" ("timestamp");
CREATE INDEX "idx_requestAuditLog_org_timestamp" ON "requestAuditLog" ("orgId", "timestamp");

CREATE TABLE "actionAuditLog" (
  "id" serial PRIMARY KEY,
  "timestamp" bigint NOT NULL,
  "orgId" varchar NOT NULL REFERENCES "orgs" ON DELETE CASCADE,
  "actorType" varchar(50) NOT NULL,
  "actor" varchar(255) NOT NULL,
  "actorId" varchar(255) NOT NULL,
  "action" varchar(100) NOT NULL,
  "metadata" text
);
CREATE INDEX "idx_actionAuditLog_timestamp" ON "actionAuditLog" ("timestamp");
CREATE INDEX "idx_actionAuditLog_org_timestamp" ON "actionAuditLog" ("orgId", "timestamp");

CREATE TABLE "accessAuditLog" (
  "id" serial PRIMARY KEY,
  "timestamp" bigint NOT NULL,
  "orgId" varchar NOT NULL REFERENCES "orgs" ON DELETE CASCADE,
  "actorType" varchar(50),
  "actor" varchar(255),
  "actorId" varchar(255),
  "resourceId" integer,
  "siteResourceId" integer,
  "ip" varchar(45),
  "location" text,
  "type" varchar(100) NOT NULL,
  "action" boolean NOT NULL,
  "userAgent" text,
  "metadata" text
);
CREATE INDEX "idx_accessAuditLog_timestamp" ON "accessAuditLog" ("timestamp");
CREATE INDEX "idx_accessAuditLog_org_timestamp" ON "accessAuditLog" ("orgId", "timestamp");

CREATE TABLE "connectionAuditLog" (
  "id" serial PRIMARY KEY,
  "sessionId" text NOT NULL,
  "siteResourceId" integer REFERENCES "siteResources" ON DELETE CASCADE,
  "orgId" text REFERENCES "orgs" ON DELETE CASCADE,
  "siteId" integer REFERENCES "sites" ON DELETE CASCADE,
  "clientId" integer REFERENCES "clients" ON DELETE CASCADE,
  "clientEndpoint" text,
  "userId" text REFERENCES "user" ON DELETE CASCADE,
  "sourceAddr" text NOT NULL,
  "destAddr" text NOT NULL,
  "protocol" text NOT NULL,
  "startedAt" integer NOT NULL,
  "endedAt" integer,
  "bytesTx" integer,
  "bytesRx" integer
);
CREATE INDEX "idx_connectionAuditLog_startedAt" ON "connectionAuditLog" ("startedAt");
CREATE INDEX "idx_connectionAuditLog_org_startedAt" ON "connectionAuditLog" ("orgId", "startedAt");
CREATE INDEX "idx_connectionAuditLog_siteResourceId" ON "connectionAuditLog" ("siteResourceId");
