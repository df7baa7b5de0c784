// Events of an emitter in the order in which they came, to be waited for one by one.

const waitMs = 10_000;

export class Happenings {
  #seen = [];
  #waiting = null;

  constructor(emitter, ...names) {
    for (const name of names) emitter.on(name, (context) => this.#take({ name, ...context }));
  }

  // The next event of this name, from where the last one was found; others on the way are passed over.
  async next(name) {
    const until = Date.now() + waitMs;
    for (;;) {
      const index = this.#seen.findIndex((happening) => happening.name === name);
      if (index >= 0) return this.#seen.splice(0, index + 1).at(-1);
      await this.#more(until, name);
    }
  }

  // Events of this name that came and were not asked for.
  left(name) {
    return this.#seen.filter((happening) => happening.name === name);
  }

  #take(happening) {
    this.#seen.push(happening);
    this.#waiting?.();
  }

  #more(until, name) {
    return new Promise((resolve, reject) => {
      const late = setTimeout(() => reject(new Error(`no ${name} within ${waitMs} ms`)), until - Date.now());
      this.#waiting = () => {
        clearTimeout(late);
        this.#waiting = null;
        resolve();
      };
    });
  }
}
