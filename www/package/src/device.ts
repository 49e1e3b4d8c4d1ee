import { binding, type RawDevice } from "./binding.js";
import { ForgelingError } from "./errors.js";
import { camelKeys, Handle } from "./handle.js";
import { profileOf, type Profile, type ProfileOptions } from "./profile.js";
import type { MethodOptions, ProtoNetConfig } from "./protonet-config.js";

/**
 * Which device to use: `auto` takes the fastest that works and falls back to the CPU, `gpu` insists on
 * WebGPU, `gpu:0` on one adapter.
 */
export type DeviceChoice = "auto" | "cpu" | "gpu" | `gpu:${number}`;

/** What a device is. `software_gpu` is WebGPU emulated on the processor: correct, and slow. */
export type DeviceKind = "cpu" | "discrete_gpu" | "integrated_gpu" | "software_gpu" | "other_gpu";

/** What can be said about an open device, as a plain object. */
export interface DeviceInfo {
  kind: DeviceKind;
  /** The adapter's name, for people. */
  name: string;
  /** What runs the work, for example `webgpu`. */
  backend: string;
  /** Why this device was chosen, in one sentence. */
  reason: string;
}

/** One adapter the machine offers. */
export interface Adapter {
  index: number;
  name: string;
  kind: DeviceKind;
  backend: string;
  driver: string;
  /** Whether it computes in half precision. */
  f16: boolean;
  int8Dot: boolean;
  subgroups: boolean;
  timestamps: boolean;
  /** Largest buffer, in bytes. */
  maxBuffer: number;
  /** Whether `auto` takes this one. */
  chosen: boolean;
}

/** How far {@link Device.warmUp} has come. */
export interface WarmUpEvent {
  /** Parts that are compiled. */
  done: number;
  /** Parts there are. */
  total: number;
}

/** Bytes of a device's memory. On the CPU, those of the large buffers of training. */
export interface MemoryUsage {
  /** What tensors hold now. */
  inUse: number;
  /** The most that was in use so far; on a GPU, whenever it was looked at. */
  peak: number;
  /** What was taken from the system, with what waits to be used again. */
  reserved: number;
  /** What fractions of its memory are fractions of: an estimate, for browsers do not tell. */
  limit: number;
}

/** An open device: the place where a model lives and computes. */
export class Device extends Handle<RawDevice> {
  /** What the device is. */
  get kind(): DeviceKind {
    return this.call("device_kind", (raw) => raw.kind as DeviceKind);
  }

  /** The adapter's name, for people. */
  get name(): string {
    return this.call("device_name", (raw) => raw.name);
  }

  /** What runs the work, for example `webgpu`. */
  get backend(): string {
    return this.call("device_backend", (raw) => raw.backend);
  }

  /** Why this device was chosen, in one sentence. */
  get reason(): string {
    return this.call("device_reason", (raw) => raw.reason);
  }

  /** The four properties above as a plain object. */
  info(): DeviceInfo {
    return { kind: this.kind, name: this.name, backend: this.backend, reason: this.reason };
  }

  /**
   * Compiles what a {@link ProtoNet} of `config` needs, so that its first step takes hardly longer than the
   * others; `report` is called after each part. On the CPU there is nothing to compile.
   */
  async warmUp(
    config: ProtoNetConfig & MethodOptions = {},
    report?: (event: WarmUpEvent) => void,
  ): Promise<void> {
    await this.run("warm_up", (raw) => raw.warmUp(config, (event) => report?.(event)));
  }

  /** The memory it holds now, of all models on it. */
  memory(): MemoryUsage {
    return this.call("memory", (raw) => camelKeys<MemoryUsage>(raw.memory()));
  }

  /**
   * Where the time of `body` goes: phases of training, modules, kernels and memory. One profile at a time; what else the
   * page computes in the meantime is in it too.
   */
  async profile(body: () => unknown, options: ProfileOptions = {}): Promise<Profile> {
    const module = binding("profile");
    const profiling = this.call("profile", (raw) => module.Profiling.start(raw, options));
    try {
      await body();
    } catch (cause) {
      profiling.free();
      throw ForgelingError.from(cause, "profile");
    }
    return profileOf(await profiling.finish());
  }

  /** Every adapter of the machine, this one or not. */
  async adapters(): Promise<Adapter[]> {
    const rows = await this.run("list_devices", (raw) => raw.adapters());
    return rows.map((row) => camelKeys<Adapter>(row));
  }
}

/**
 * Opens a device.
 *
 * @param choice default `auto`; its `reason` says what was taken and why.
 * @throws ForgelingError `device` where a device that was insisted on is missing.
 */
export async function openDevice(choice: DeviceChoice = "auto"): Promise<Device> {
  const module = binding("open_device");
  try {
    return new Device(await module.openDevice(choice));
  } catch (cause) {
    throw ForgelingError.from(cause, "open_device");
  }
}
