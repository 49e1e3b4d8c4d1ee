import { camelTree } from "./handle.js";

/** What a profile is to tell. */
export interface ProfileOptions {
  /** What the GPU's own clock times: nothing, phases and modules (default), or every kernel, which is slower. */
  gpu?: "off" | "spans" | "kernels";
  /** When the GPU's memory is looked at: never, where a phase or module ends (default), or at every launch, which is slower. */
  memory?: "off" | "spans" | "launches";
}

/** A phase or a module. */
export interface ProfileRow {
  /** A phase (`data`, `forward`, `backward`, `step`, `readback`), or a module with those around it: `encoder.blocks.0`. */
  name: string;
  /** The phase in which a module ran. */
  phase?: string;
  /** How often. */
  count: number;
  /** Seconds of the host; on a GPU, those it takes to ask for the work. */
  seconds: number;
  /** Seconds of the GPU's clock, where it has one. */
  gpuSeconds?: number;
  /** Kernels launched. */
  dispatches: number;
  /** Bytes of the buffers they were given. */
  bytes: number;
}

/** A kernel in a phase. */
export interface KernelRow {
  name: string;
  phase?: string;
  dispatches: number;
  bytes: number;
  /** With `gpu: "kernels"`. */
  gpuSeconds?: number;
}

/** Where the time went. */
export interface Profile {
  /** Seconds from start to finish. */
  seconds: number;
  /** Kernels launched. */
  dispatches: number;
  /** Bytes of the buffers they were given. */
  bytes: number;
  /** Each without the phases inside it, so that they add up. */
  phases: ProfileRow[];
  /** Each with the modules inside it. */
  modules: ProfileRow[];
  /** Those that took longest first; none on the CPU. */
  kernels: KernelRow[];
  /** The most bytes that were seen in use on the GPU. */
  peakBytes: number | null;
  /** Bytes in use over time: seconds since the start, bytes. */
  memory: [number, number][];
  /** Spans that were too many to be written down. */
  droppedSpans: number;
  /** The profile as a table, for people. */
  table: string;
  /** The text of a file that `chrome://tracing` and ui.perfetto.dev open. */
  toChromeTrace(): string;
}

/** What wasm gives as a profile. @internal */
export function profileOf(row: object): Profile {
  const { trace, ...rest } = row as { trace: string };
  return { ...camelTree<Omit<Profile, "toChromeTrace">>(rest), toChromeTrace: () => trace };
}
