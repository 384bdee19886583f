'use strict';

// The three entries of the SHE function notes-mood. Each note and each tweet becomes one record at
// she/insights/emotions, linked to the note or tweet it was derived from.

const { moodOf } = require('./mood.js');

const NAMESPACE = 'she';
const ENDPOINT = 'insights/emotions';
const MAX_EXCERPT = 280; // characters, as people count them

// The property names are what the feed prints as the place a text comes from.
const BUNDLE = {
  name: 'notes-mood',
  bundle: {
    notables: {
      endpoints: [
        {
          endpoint: 'rumpel/notablesv1',
          mapping: { text: 'message', timestamp: 'created_time' },
        },
      ],
      orderBy: 'created_time',
      ordering: 'ascending',
    },
    twitter: {
      endpoints: [
        {
          endpoint: 'twitter/tweets',
          // The model knows English only.
          filters: [{ field: 'lang', operator: { operator: 'in', value: ['en', 'en-gb', 'en-GB'] } }],
          mapping: {
            text: 'text',
            timestamp: 'lastUpdated',
            created: 'created_at',
            retweetOf: 'retweeted_status.id',
          },
        },
      ],
      orderBy: 'lastUpdated',
      ordering: 'ascending',
    },
  },
};

const CONFIGURATION = {
  id: 'notes-mood',
  info: {
    version: '1.0.0',
    versionReleaseDate: '2024-06-01T12:00:00.000Z',
    name: 'Notes mood',
    headline: 'How your notes and tweets feel',
    description: {
      text:
        'Reads each new note and each new tweet in English and records whether it sounds positive, negative or ' +
        'neutral. The reading is done by a small language model inside your HAT; it is a guess, not a diagnosis.',
    },
    termsUrl: 'https://example.org/notes-mood/terms',
    supportContact: 'notes-mood@example.org',
    dataPreview: [
      {
        source: 'she',
        date: { iso: '2024-06-01T12:00:00.000Z', unix: 1717243200 },
        types: ['insight', 'sentiment', 'Positive', 'Notables'],
        title: { text: 'Positive Message', subtitle: 'on Notables', action: 'sentiment' },
        content: { text: 'What a lovely walk along the river!' },
      },
    ],
    graphics: { banner: { normal: '' }, logo: { normal: '' }, screenshots: [] },
    dataPreviewEndpoint: '/she/feed/she/sentiments',
  },
  developer: { id: 'she-examples', name: 'SHE examples', url: 'https://example.org' },
  trigger: { triggerType: 'individual' },
  dataBundle: BUNDLE,
  status: { available: true, enabled: false },
};

async function configuration() {
  return CONFIGURATION;
}

// The question is the same whatever the dates: the server hands over what is new.
async function bundle() {
  return BUNDLE;
}

/** One Response for each record with words of the owner's own; records without are passed over. */
async function process(event) {
  const data = (event && event.request && event.request.data) || {};
  const responses = [];
  for (const source of Object.keys(BUNDLE.bundle)) {
    for (const record of data[source] || []) {
      const emotion = emotionOf(source, record.data);
      if (emotion) {
        responses.push({
          namespace: NAMESPACE,
          endpoint: ENDPOINT,
          data: [emotion],
          linkedRecords: [record.recordId],
        });
      }
    }
  }
  return responses;
}

function emotionOf(source, data) {
  if (!data || typeof data.text !== 'string' || data.text.trim() === '') return null;
  // A retweet holds somebody else's words.
  if (data.retweetOf !== undefined || data.text.startsWith('RT @')) return null;
  return {
    timestamp: timeOf(data.timestamp) || timeOf(data.created) || new Date().toISOString(),
    source,
    text: excerpt(data.text.trim()),
    ...moodOf(data.text),
  };
}

// Plugs write times as ISO text, as Twitter's "Sat Jun 01 12:00:00 +0000 2024", or as Unix seconds or milliseconds.
function timeOf(value) {
  if (typeof value !== 'string' && typeof value !== 'number') return null;
  const date = new Date(typeof value === 'number' && value < 1e11 ? value * 1000 : value);
  return Number.isNaN(date.getTime()) ? null : date.toISOString();
}

function excerpt(text) {
  const characters = Array.from(text);
  return characters.length <= MAX_EXCERPT ? text : characters.slice(0, MAX_EXCERPT - 1).join('') + '…';
}

module.exports = { configuration, bundle, process };
