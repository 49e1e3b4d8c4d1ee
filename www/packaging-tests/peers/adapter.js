/** What computes for `api`, `webgl` or `webgpu`, for people. */
export async function adapter(api) {
  const name = api === "webgl" ? webgl() : await webgpu();
  return `${name || "unnamed adapter"} (${api})`;
}

function webgl() {
  const context = new OffscreenCanvas(1, 1).getContext("webgl2");
  const info = context?.getExtension("WEBGL_debug_renderer_info");
  return info && context.getParameter(info.UNMASKED_RENDERER_WEBGL);
}

async function webgpu() {
  const info = (await navigator.gpu?.requestAdapter())?.info;
  return info && (info.description || info.device || info.architecture);
}
