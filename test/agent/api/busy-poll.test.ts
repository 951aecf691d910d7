import { BusyPoll } from '@skein/agent/api/busy-poll.ts';
import { describe, expect, it } from 'vitest';

/** A loop whose turns the test takes, and the time it tells. */
function loop(withinMs = 0.2) {
  let time = 1000;
  let waiting: (() => void)[] = [];
  const poll = new BusyPoll(withinMs, { now: () => time, nextTurn: (then) => void waiting.push(then) });
  return {
    poll,
    /** A request that comes `gapMs` after what was before, and its answer. */
    exchange(client: object, gapMs: number, answerMs = 0.05) {
      time += gapMs;
      poll.asked(client);
      time += answerMs;
      poll.answered(client);
    },
    turn(elapsedMs: number) {
      time += elapsedMs;
      const due = waiting;
      waiting = [];
      for (const then of due) then();
    },
    get awake() {
      return waiting.length;
    },
  };
}

describe('a client that asks again at once', () => {
  it('is waited for awake, until the limit after the answer', () => {
    const server = loop();
    const client = {};
    server.exchange(client, 0);
    expect(server.awake).toBe(0);
    server.exchange(client, 0.1);
    expect(server.awake).toBe(1);
    server.turn(0.1);
    expect(server.awake).toBe(1);
    server.turn(0.11);
    expect(server.awake).toBe(0);
  });

  it('is waited for anew after each answer, by one chain of turns', () => {
    const server = loop();
    const client = {};
    for (let i = 0; i < 50; i++) {
      server.exchange(client, 0.15);
      expect(server.awake).toBe(i === 0 ? 0 : 1);
      if (i % 3 === 0) server.turn(0.01);
    }
    server.turn(1);
    expect(server.awake).toBe(0);
    server.exchange(client, 0);
    expect(server.awake).toBe(0);
    server.exchange(client, 0);
    expect(server.awake).toBe(1);
  });

  it('is not waited for while its answer is being made', () => {
    const server = loop();
    const client = {};
    server.exchange(client, 0);
    server.exchange(client, 0.1);
    server.poll.asked(client);
    server.turn(0.01);
    expect(server.awake).toBe(0);
    server.poll.answered(client);
    expect(server.awake).toBe(1);
  });
});

describe('nobody is waited for awake', () => {
  it('who asks now and then', () => {
    const server = loop();
    const client = {};
    for (let i = 0; i < 10; i++) {
      server.exchange(client, 0.21, 5);
      expect(server.awake).toBe(0);
    }
  });

  it('where several clients ask in turns', () => {
    const server = loop();
    const clients = [{}, {}];
    for (let i = 0; i < 10; i++) {
      server.exchange(clients[i % 2]!, 0.05);
      expect(server.awake).toBe(0);
    }
  });

  it('when it is switched off', () => {
    const server = loop(0);
    const client = {};
    for (let i = 0; i < 10; i++) server.exchange(client, 0);
    expect(server.awake).toBe(0);
  });
});
