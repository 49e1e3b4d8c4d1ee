/**
 * Train small neural networks in the page. Importing this module does nothing: `await init()` loads the
 * wasm. To keep a page responsive, use `forgeling/worker`, which runs the same things in a Web Worker.
 *
 * @module
 */
import { binding } from "./binding.js";

export { init, type InitInput } from "./binding.js";
export {
  Classifier,
  type AdaptOptions,
  type AdaptSummary,
  type Adaptation,
  type FineTuneEvent,
  type FineTuneOptions,
  type LoraOptions,
  type Prediction,
} from "./classifier.js";
export { Continual, type ContinualOptions, type ContinualStrategy, type LearnOptions } from "./continual.js";
export { deleteCheckpoints } from "./checkpoints.js";
export { Dataset, type GlyphOptions, type ImageOptions } from "./dataset.js";
export {
  Device,
  openDevice,
  type Adapter,
  type DeviceChoice,
  type DeviceInfo,
  type DeviceKind,
  type MemoryUsage,
  type WarmUpEvent,
} from "./device.js";
export { ForgelingError, type ErrorCode, type ErrorDetails, type ErrorJson } from "./errors.js";
export { imageToInk, type InkOptions } from "./ink.js";
export { Mlp, type MlpConfig } from "./mlp.js";
export { LAYERS, MODELS } from "./models.js";
export { Network, type NetworkConfig, type NetworkTraining } from "./network.js";
export type {
  AttentionOptions,
  Conv2dOptions,
  Initial,
  LayerDescription,
  LayerKind,
  LayerOptions,
  LayerSummary,
  LinearOptions,
  ModelName,
  NetworkGraph,
  NetworkSummary,
  NoOptions,
  NormOptions,
  Pair,
  PatchesOptions,
  Shape,
  WindowOptions,
} from "./network-graph.js";
export type { Picture, PixelSource } from "./picture/raster.js";
export { imageToPixels, type ExampleShape, type Images } from "./pixels.js";
export type { KernelRow, Profile, ProfileOptions, ProfileRow } from "./profile.js";
export {
  ProtoNet,
  type EvaluateOptions,
  type Evaluation,
  type FitEvent,
  type FitOptions,
  type Method,
  type MethodOptions,
  type ModelConfig,
  type ProtoNetConfig,
} from "./protonet.js";

export { Trainer, type TrainerFitOptions } from "./trainer.js";
export type {
  CheckpointOptions,
  FitSummary,
  HardwareOptions,
  HardwareReport,
  MemoryPhase,
  MemoryPlan,
  ModelOptions,
  OptimizerOptions,
  ScheduleOptions,
  StepEvent,
  StopReason,
  TrainEvent,
  TrainerOptions,
  Validation,
} from "./training.js";

/** The version of the wasm, for example `0.1.0`. */
export function version(): string {
  return binding("version").version();
}
