/**
 * The script a worker runs. `startWorker()` finds it by itself; name it only where a bundler needs to see
 * the address: `startWorker({ worker: new Worker(new URL("forgeling/worker-entry", import.meta.url), …) })`.
 *
 * @module
 */
import type { Port } from "./protocol.js";
import { serve } from "./serve.js";

serve(globalThis as unknown as Port);
