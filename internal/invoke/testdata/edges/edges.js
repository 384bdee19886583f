'use strict';

// As edges.py.
const { spawn } = require('child_process');
const fs = require('fs');

const edges = {
  size: (e) => 'x'.repeat(e.size - 2),

  length: (e) => e.text.length,

  fill() {
    const f = fs.openSync('/tmp/full', 'w');
    const block = Buffer.alloc(65536, 1);
    let done = 0;
    try {
      for (;;) done += fs.writeSync(f, block);
    } catch (failure) {
      return [done, failure.code];
    }
  },

  files() {
    const kept = [];
    try {
      for (;;) kept.push(fs.openSync('/dev/null'));
    } catch (failure) {
      kept.forEach((f) => fs.closeSync(f)); // the runtime wants one for the answer
      return [kept.length, failure.code];
    }
  },

  async processes(e) {
    const kept = [];
    let said = '';
    for (let n = 0; n < 2 * e.size && !said; n++) {
      const child = spawn('/bin/sleep', ['600'], { stdio: 'ignore' });
      await new Promise((done) => child.once('spawn', done).once('error', (failure) => done((said = failure.code))));
      if (!said) kept.push(child);
    }
    return [kept.length, said];
  },

  eat() {
    const kept = [];
    for (let n = 0; n < 4096; n++) kept.push(Buffer.alloc(1 << 20, 1));
    return kept.length;
  },

  sleep() {
    spawn('/bin/sh', ['-c', "trap '' TERM INT HUP; while :; do :; done"], { detached: true, stdio: 'ignore' });
    return new Promise((done) => setTimeout(done, 600000));
  },

  log(e) {
    for (let text = Buffer.from('head' + '.'.repeat(e.size - 8) + 'tail'); text.length > 0; ) text = text.subarray(fs.writeSync(1, text));
    return null;
  },
};

exports.handler = async (e) => edges[e.do](e);
