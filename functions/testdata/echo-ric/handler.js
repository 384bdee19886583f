'use strict';

// echo behind the runtime client that Amazon publishes: copies each record it is given, and links the copy to it. A
// record with `fail` makes it raise that.

const id = 'echo-ric';
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
  event.request.data['test/in'].map((record) => {
    if (record.data.fail) throw new RangeError(record.data.fail);
    return {
      namespace: 'test',
      endpoint: 'out',
      data: [{ of: record.recordId, data: record.data }],
      linkedRecords: [record.recordId],
    };
  });

// What the client tells a handler about its call.
exports.describe = async (event, context) => {
  console.log('printed');
  return [context.functionName, context.memoryLimitInMB, context.awsRequestId.length, context.invokedFunctionArn,
    context.getRemainingTimeInMillis() > 0, process.env.LAMBDA_TASK_ROOT, typeof process.env.AWS_SECRET_ACCESS_KEY];
};
