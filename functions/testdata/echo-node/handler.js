'use strict';

// echo in Node.js: copies each record it is given, and links the copy to it.

const id = 'echo-node';
const dataBundle = { name: id, bundle: { 'test/in': { endpoints: [{ endpoint: 'test/in' }] } } };

exports.configuration = async () => ({
  id,
  info: {
    version: '1.0.0',
    versionReleaseDate: '2024-01-08T10:00:00.000Z',
    name: id,
    headline: 'A function for tests',
    description: { text: 'A function for tests' },
    termsUrl: 'https://example.org/terms',
    supportContact: 'tests@example.org',
    dataPreview: [],
    graphics: { banner: { normal: '' }, logo: { normal: '' }, screenshots: [] },
  },
  developer: { id: 'tests', name: 'Tests', url: 'https://example.org' },
  trigger: { triggerType: 'individual' },
  dataBundle,
  status: { available: true, enabled: false },
});

exports.bundle = async () => dataBundle;

exports.process = async (event) =>
  event.request.data['test/in'].map((record) => ({
    namespace: 'test',
    endpoint: 'out',
    data: [{ of: record.recordId, data: record.data }],
    linkedRecords: [record.recordId],
  }));
