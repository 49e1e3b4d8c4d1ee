import { ForgelingError, type ErrorCode } from "forgeling/worker";

const advice: Record<ErrorCode, string> = {
  invalid_argument: "Something in this page’s settings does not fit.",
  bad_data: "This file is not a model that this page can use.",
  device:
    "The chosen device cannot be used. Opening this page with ?device=cpu at the end of its address runs it on the processor.",
  out_of_memory: "There is not enough memory. Close other tabs, or try ?filters=16.",
  diverged: "Training went astray and produced no usable numbers. Please train again.",
  io: "The network’s program could not be loaded. Check the connection and reload the page.",
  cancelled: "The work was stopped.",
  not_ready: "The page is not ready yet. Please wait a moment.",
  freed: "The page lost track of its model. Please reload it.",
  internal: "Something unexpected happened. Please reload the page.",
};

/** What a visitor should know about a failure, followed by the details for a report. */
export function inPlainWords(cause: unknown): string {
  const error = ForgelingError.from(cause);
  return `${advice[error.code]} (${error.message})`;
}
