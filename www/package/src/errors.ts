/**
 * What kind of failure an error reports. Stable across releases.
 *
 * - `invalid_argument`: an argument is out of range, or two do not fit together.
 * - `bad_data`: a file, an image or a tensor is not what it claims to be.
 * - `device`: a device is missing, was lost, or computes wrongly.
 * - `out_of_memory`: memory, on the host or the device, does not suffice.
 * - `diverged`: training produced a value that is not finite.
 * - `io`: something could not be read, written or fetched.
 * - `cancelled`: an `AbortSignal` asked for the work to stop.
 * - `not_ready`: `init()` has not finished yet.
 * - `freed`: the object was used after `free()`.
 * - `internal`: a bug, or a failure the library does not know.
 */
export type ErrorCode = (typeof ERROR_CODES)[number];

const ERROR_CODES = [
  "invalid_argument",
  "bad_data",
  "device",
  "out_of_memory",
  "diverged",
  "io",
  "cancelled",
  "not_ready",
  "freed",
  "internal",
] as const;

/** The parts of a {@link ForgelingError} that are not its code and message. */
export interface ErrorDetails {
  /** The operation that failed, for example `"load_model"`. */
  operation?: string | undefined;
  /** What was expected: a shape, a range. */
  expected?: string | undefined;
  /** What came instead. */
  got?: string | undefined;
  /** The error underneath, if there is one. */
  cause?: unknown;
}

/** The plain-object form of an error, which survives `postMessage` and `JSON.stringify`. */
export interface ErrorJson {
  code: ErrorCode;
  message: string;
  operation?: string;
  expected?: string;
  got?: string;
}

/** The one error type of this package: every failing call throws it or rejects with it. */
export class ForgelingError extends Error {
  override readonly name = "ForgelingError";
  /** What kind of failure this is. */
  readonly code: ErrorCode;
  /** The operation that failed, where known. */
  readonly operation?: string;
  /** What was expected, where that can be said. */
  readonly expected?: string;
  /** What came instead, where that can be said. */
  readonly got?: string;

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.code = code;
    if (details.operation !== undefined) this.operation = details.operation;
    if (details.expected !== undefined) this.expected = details.expected;
    if (details.got !== undefined) this.got = details.got;
  }

  /** The error as a plain object. */
  toJSON(): ErrorJson {
    const json: ErrorJson = { code: this.code, message: this.message };
    if (this.operation !== undefined) json.operation = this.operation;
    if (this.expected !== undefined) json.expected = this.expected;
    if (this.got !== undefined) json.got = this.got;
    return json;
  }

  /** The inverse of {@link ForgelingError.toJSON}. */
  static fromJSON(json: ErrorJson): ForgelingError {
    return new ForgelingError(json.code, json.message, json);
  }

  /** Turns whatever was thrown into a `ForgelingError`; one that already is stays the same object. */
  static from(cause: unknown, operation?: string): ForgelingError {
    if (cause instanceof ForgelingError) return cause;
    const parts: Record<string, unknown> = isRecord(cause) ? cause : {};
    const message = typeof parts["message"] === "string" ? parts["message"] : String(cause);
    return new ForgelingError(codeOf(parts), message, {
      operation: text(parts["operation"]) ?? operation,
      expected: text(parts["expected"]),
      got: text(parts["got"]),
      cause,
    });
  }
}

function codeOf(parts: Record<string, unknown>): ErrorCode {
  if (parts["name"] === "AbortError") return "cancelled";
  return ERROR_CODES.find((code) => code === parts["code"]) ?? "internal";
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}

function text(value: unknown): string | undefined {
  return typeof value === "string" ? value : undefined;
}

/** Runs `body` and turns whatever it throws into a {@link ForgelingError}. */
export function guarded<T>(operation: string, body: () => T): T {
  try {
    return body();
  } catch (cause) {
    throw ForgelingError.from(cause, operation);
  }
}
