'use strict';

// How a text feels, by the pre-trained English model of wink-nlp. Requiring this file loads the model and reads one
// sentence, so that a checkpoint taken after INIT holds a model that is ready, and no run pays for loading it.

const winkNLP = require('wink-nlp');
const model = require('wink-eng-lite-web-model');

const nlp = winkNLP(model, ['sbd', 'negation', 'sentiment']);
const { its } = nlp;

// Scores run from -1 to 1. Between the two thresholds a text says more about facts than about feelings.
const POSITIVE_FROM = 0.15;
const NEGATIVE_FROM = -0.15;

// The model reads a long text in time linear in its length; beyond this nobody's mood is clearer.
const MAX_READ = 10000;

/**
 * @param {string} text
 * @returns {{sentiment: 'Positive'|'Negative'|'Neutral', score: number}} score has three decimals
 */
function moodOf(text) {
  const score = nlp.readDoc(readable(text)).out(its.sentiment);
  const rounded = Math.round(score * 1000) / 1000 || 0; // "|| 0" turns -0 into 0
  if (rounded >= POSITIVE_FROM) return { sentiment: 'Positive', score: rounded };
  if (rounded <= NEGATIVE_FROM) return { sentiment: 'Negative', score: rounded };
  return { sentiment: 'Neutral', score: rounded };
}

// Web addresses and @names carry letters, not feelings: "https://…/love-island" is no declaration of love.
function readable(text) {
  return text
    .slice(0, MAX_READ)
    .replace(/https?:\/\/\S+/g, ' ')
    .replace(/@\w+/g, ' ')
    .replace(/#(\w+)/g, '$1');
}

moodOf('A good start, nothing bad so far.');

module.exports = { moodOf };
