// Proxy of the models in a worker: each method returns a promise.

export class Classifier {
  constructor(models, onProgress) {
    this.models = models;
    this.onProgress = onProgress;
    this.pending = new Map();
    this.nextId = 0;
    this.name = null;
    this.loading = this.failure = null;
    this.worker = new Worker("worker.js", { type: "module" });
    this.worker.onmessage = ({ data }) => this.receive(data);
    this.worker.onerror = () => this.failAll(new Error("the models could not be started: update the browser or use another one"));
  }

  receive(data) {
    if (data.type === "progress") return this.onProgress(data.loaded, data.total);
    const request = this.pending.get(data.id);
    this.pending.delete(data.id);
    return data.type === "error" ? request?.reject(new Error(data.message)) : request?.resolve(data.result);
  }

  failAll(error) {
    this.failure = error;
    for (const { reject } of this.pending.values()) reject(error);
    this.pending.clear();
  }

  get classes() { return this.models.models[this.name].classes; }

  async load(name) {
    while (this.loading) await this.loading.catch(() => {});
    if (this.name === name) return;
    this.loading = this.request("load", { name, runtime: this.models.runtime, info: this.models.models[name] });
    try { await this.loading; this.name = name; } finally { this.loading = null; }
  }

  request(type, content = {}) {
    if (this.failure) return Promise.reject(this.failure);
    const id = this.nextId++;
    return new Promise((resolve, reject) => {
      this.pending.set(id, { resolve, reject });
      this.worker.postMessage({ type, id, ...content });
    });
  }

  predict(samples) { return this.request("predict", { samples }); }
  enroll(clips) { return this.request("enroll", { clips }); }
  resetSpeaker() { return this.request("resetSpeaker"); }
}
