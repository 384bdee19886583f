'use strict';

const assert = require('node:assert/strict');
const { test } = require('node:test');
const { bundle, configuration, process } = require('../handler.js');
const { moodOf } = require('../mood.js');

const note = (id, text, more = {}) => ({
  endpoint: 'rumpel/notablesv1',
  recordId: id,
  data: { text, timestamp: '2024-05-03T18:00:00+10:00', ...more },
});
const event = (data) => ({
  functionConfiguration: {},
  request: { data, linkRecords: true },
});
const ID = '11111111-2222-4333-8444-555555555555';

test('a text says how it feels', () => {
  for (const [want, text] of [
    ['Positive', 'I love how calm the river is this morning.'],
    ['Positive', 'Dinner was delicious and the company even better 😊'],
    ['Negative', 'The bus was late again and I am so tired of it.'],
    ['Negative', 'That meeting was not good at all.'],
    ['Negative', 'Terrible headache, hardly slept.'],
    ['Neutral', 'Milk, eggs, bread, washing powder'],
    ['Neutral', 'Dentist on Thursday at nine'],
    ['Neutral', '@happylove https://example.org/wonderful/amazing'],
  ]) {
    assert.equal(moodOf(text).sentiment, want, text);
  }
});

test('scores stay between -1 and 1, also for odd and very long texts', () => {
  for (const text of ['?', '\u0000', '😡😡😡', 'great '.repeat(50000), '{"a":1}', '\ud800']) {
    const { score } = moodOf(text);
    assert.ok(score >= -1 && score <= 1, `score ${score}`);
  }
});

test('each record gives one response, linked to it', async () => {
  const other = ID.replace('1111', '9999');
  const got = await process(
    event({
      notables: [note(ID, 'What a wonderful day')],
      twitter: [{ endpoint: 'twitter/tweets', recordId: other, data: { text: 'I hate delays', timestamp: '2024-05-04T00:00:00.000Z' } }],
    }),
  );
  assert.deepEqual(
    got.map((r) => [r.namespace, r.endpoint, r.linkedRecords, r.data.length, r.data[0].source, r.data[0].sentiment]),
    [
      ['she', 'insights/emotions', [ID], 1, 'notables', 'Positive'],
      ['she', 'insights/emotions', [other], 1, 'twitter', 'Negative'],
    ],
  );
  assert.equal(got[0].data[0].timestamp, '2024-05-03T08:00:00.000Z', 'the time of the note, in UTC');
  assert.equal(got[0].data[0].text, 'What a wonderful day');
});

test('a second run says the same', async () => {
  const e = event({ notables: [note(ID, 'Fine weather')], twitter: [] });
  assert.deepEqual(await process(e), await process(e));
});

test('thin and odd records are passed over, none fails the run', async () => {
  const got = await process(
    event({
      notables: [
        note(ID, ''), note(ID, '   '), note(ID, 7), note(ID, null),
        { recordId: ID, data: null }, { recordId: ID, data: 'text' }, { recordId: ID },
        note(ID, 'RT @someone: so happy'), note(ID, 'so happy', { retweetOf: 5 }),
        note(ID, 'so happy'),
      ],
    }),
  );
  assert.equal(got.length, 1);
  assert.deepEqual(await process(event({ notables: [], twitter: [] })), []);
  assert.deepEqual(await process({}), []);
});

test('times are read in every form the plugs write', async () => {
  for (const [value, want] of [
    ['2024-06-01T12:00:00.000Z', '2024-06-01T12:00:00.000Z'],
    ['Sat Jun 01 12:00:00 +0000 2024', '2024-06-01T12:00:00.000Z'],
    [1717243200, '2024-06-01T12:00:00.000Z'],
    [1717243200000, '2024-06-01T12:00:00.000Z'],
  ]) {
    const [r] = await process(event({ notables: [note(ID, 'so happy', { timestamp: value })] }));
    assert.equal(r.data[0].timestamp, want);
  }
  const [r] = await process(event({ notables: [note(ID, 'so happy', { timestamp: 'someday' })] }));
  assert.match(r.data[0].timestamp, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
});

test('a long text is cut between characters', async () => {
  const [r] = await process(event({ notables: [note(ID, '😀'.repeat(400))] }));
  assert.equal(Array.from(r.data[0].text).length, 280);
  assert.ok(r.data[0].text.isWellFormed?.() ?? true);
});

test('the configuration describes the bundle that is asked for', async () => {
  const c = await configuration('');
  assert.equal(c.id, 'notes-mood');
  assert.deepEqual(c.dataBundle, await bundle({ fromDate: null, untilDate: null }));
  assert.equal(c.trigger.triggerType, 'individual');
  for (const field of ['version', 'versionReleaseDate', 'name', 'headline', 'termsUrl', 'supportContact', 'description']) {
    assert.ok(c.info[field], field);
  }
});
