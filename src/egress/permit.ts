/**
 * Asks, in the moment before a request's first byte is written, whether it may still be made. A request that waited
 * for a connection, or a process that was stopped meanwhile, may find the answer changed since it was asked for.
 */
import type { Dispatcher } from 'undici'

/** An error stops the request, and is what it fails with. */
export type Refusal = () => Error | undefined

type Interceptor = Dispatcher.DispatcherComposeInterceptor

export function permitting(refusal: Refusal): Interceptor {
  return (dispatch) => (options, handler) =>
    dispatch(options, {
      onRequestStart(controller, context) {
        handler.onRequestStart?.(controller, context)
        const refused = refusal()
        if (refused) controller.abort(refused)
      },
      onResponseStart: (...answer) => handler.onResponseStart?.(...answer),
      onResponseData: (...data) => handler.onResponseData?.(...data),
      onResponseEnd: (...end) => handler.onResponseEnd?.(...end),
      onResponseError: (...failure) => handler.onResponseError?.(...failure),
    })
}
