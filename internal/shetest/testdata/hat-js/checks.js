// Drives hat-js, unmodified, against a running server: node checks.js HOST:PORT NAME PASSWORD, where NAME.localhost at
// that port is the HAT. Prints {"method","says","ok","detail"?} for each check, then {"checks":N}.
'use strict';
const assert = require('node:assert/strict');
const dns = require('node:dns');

const [address, name, password] = process.argv.slice(2);
const port = address.slice(address.lastIndexOf(':') + 1);
const domain = `${name}.localhost:${port}`;
const base = `http://${domain}/api/v2.6`;

// Browsers find *.localhost by themselves, not every C library does.
const lookup = dns.lookup;
dns.lookup = (host, options, callback) => lookup(host.endsWith('.localhost') ? '127.0.0.1' : host, options, callback);

// hat-js never reads the body of an error and does not tell what it sends, so its fetch is watched.
let last;
const fetchUnwatched = globalThis.fetch;
globalThis.fetch = async (url, init) => {
  const res = await fetchUnwatched(url, init);
  last = { url: String(url), sent: new Headers(init?.headers), status: res.status, body: await res.clone().text() };
  return res;
};
const { HatClient } = require('@dataswift/hat-js');

let checks = 0;
async function check(method, says, body) {
  const line = { method, says, ok: true };
  try {
    await body();
  } catch (e) {
    Object.assign(line, { ok: false, detail: `${e?.stack ?? e}\nlast request: ${JSON.stringify(last)}` });
  }
  checks++;
  console.log(JSON.stringify(line));
}

async function raw(method, path, token, body) {
  const headers = { 'Content-Type': 'application/json', 'X-Auth-Token': token };
  const res = await fetchUnwatched(base + path, { method, headers, body: body && JSON.stringify(body) });
  const text = await res.text();
  assert.ok(res.ok, `${method} ${path}: ${res.status} ${text}`);
  return JSON.parse(text);
}

async function fails(promise, status) {
  await assert.rejects(promise, (e) => e.cause === 'HAT_API_EXCEPTION' && e.status === status);
  assert.equal(last.status, status);
}

const claims = (token) => JSON.parse(Buffer.from(token.split('.')[1], 'base64url').toString());
const data = (res) => res.parsedBody.map((r) => r.data);

async function main() {
  const login = await fetchUnwatched(`http://${domain}/users/access_token`, { headers: { username: name, password } });
  const { accessToken } = await login.json();
  assert.ok(accessToken, `login: ${login.status}`);

  let hat;
  const changes = [];
  await check('authenticate', 'a token of this server is taken, and says where the HAT is', () => {
    hat = HatClient.authenticate(accessToken, false);
    assert.equal(hat.auth().getHatDomain(), `http://${domain}`);
    assert.equal(hat.auth().getToken(), accessToken);
    assert.equal(hat.auth().isTokenExpired(accessToken), false);
    hat = new HatClient({ token: accessToken, apiVersion: 'v2.6', secure: false, onTokenChange: (t) => changes.push(t) });
  });
  await check('isDomainRegistered', 'true for the HAT', async () =>
    assert.equal(await hat.auth().isDomainRegistered(domain), true));
  await check('isDomainRegistered', 'false for a host that is no HAT', async () => {
    assert.equal(await hat.auth().isDomainRegistered(`nobody.localhost:${port}`), false);
    assert.equal(last.status, 404);
  });
  await check('isDomainRegistered', 'false where nothing answers', async () =>
    assert.equal(await hat.auth().isDomainRegistered('nobody.localhost:1'), false));

  await check('onTokenChange', 'the next token comes with an answer and is used from then on', async () => {
    const old = claims(accessToken);
    while (Math.floor(Date.now() / 1000) <= old.iat) { // tokens count in seconds: in the same one they are equal
      await new Promise((resolve) => setTimeout(resolve, 1000 - (Date.now() % 1000)));
    }
    await hat.hatData().getAllDefault('rumpel', 'notes');
    const next = changes.at(-1);
    assert.notEqual(next, accessToken);
    assert.equal(hat.auth().getToken(), next);
    const { iat, ...rest } = claims(next);
    assert.ok(iat > old.iat);
    assert.deepEqual({ ...rest, iat: old.iat }, old);
    await hat.hatData().getAllDefault('rumpel', 'notes');
    assert.equal(last.sent.get('X-Auth-Token'), next);
  });
  await check('authenticate', 'a token whose signature was changed is refused with 401 and not renewed', async () => {
    const [head, payload, signature] = accessToken.split('.');
    const forged = `${head}.${payload}.${(signature[0] === 'A' ? 'B' : 'A') + signature.slice(1)}`;
    const stranger = HatClient.authenticate(forged, false);
    await fails(stranger.hatData().getAllDefault('rumpel', 'notes'), 401);
    assert.equal(stranger.auth().getToken(), forged);
  });

  await dataChecks(hat);
  await debitChecks(hat);
  await applicationChecks(hat);
  await fileChecks(hat);

  await check('signOut', 'afterwards nothing can be called', () => {
    hat.auth().signOut();
    assert.throws(() => hat.hatData(), (e) => e.message === 'NOT_AUTHENTICATED');
  });
}

async function dataChecks(hat) {
  const notes = ['first', 'second', 'third'].map((text, n) => ({
    text, n, exact: n + 0.1, nested: { list: [n, null, true], text: 'a "quoted" ü 🙂' }, author: n < 2 ? 'ann' : 'ben',
  }));
  let records = [];
  await check('create', 'one value becomes one record', async () => {
    const res = await hat.hatData().create('rumpel', 'notes', notes[0]);
    assert.equal(res.status, 201);
    assert.equal(res.parsedBody.endpoint, 'rumpel/notes');
    assert.match(res.parsedBody.recordId, /^[0-9a-f-]{36}$/);
    assert.deepEqual(res.parsedBody.data, notes[0]);
    records = [res.parsedBody];
  });
  await check('create', 'a list becomes as many', async () => {
    const res = await hat.hatData().create('rumpel', 'notes', notes.slice(1));
    assert.equal(res.status, 201);
    assert.deepEqual(data(res), notes.slice(1));
    records.push(...res.parsedBody);
  });
  await check('create', 'the same again is a duplicate: 400', () => fails(hat.hatData().create('rumpel', 'notes', notes[0]), 400));
  await check('create', 'an endpoint in capitals is no route: 404', () => fails(hat.hatData().create('rumpel', 'NOTES', 1), 404));
  await check('getAllDefault', 'all records, the oldest first, without links', async () => {
    const res = await hat.hatData().getAllDefault('rumpel', 'notes');
    assert.equal(res.status, 200);
    assert.deepEqual(res.parsedBody, records.map(({ endpoint, recordId, data }) => ({ endpoint, recordId, data })));
  });
  await check('getAllDefault', 'an endpoint nobody wrote to is empty', async () =>
    assert.deepEqual((await hat.hatData().getAllDefault('rumpel', 'nothing/here')).parsedBody, []));
  await check('getAll', 'take and skip', async () => {
    const res = await hat.hatData().getAll('rumpel', 'notes', { take: '1', skip: '1' });
    assert.deepEqual(data(res), [notes[1]]);
  });
  await check('getAll', 'orderBy and ordering', async () => {
    const res = await hat.hatData().getAll('rumpel', 'notes', { orderBy: 'nested.list.0', ordering: 'descending', take: '2' });
    assert.deepEqual(data(res), [notes[2], notes[1]]);
  });
  await check('getAll', 'an attribute selects', async () => {
    const res = await hat.hatData().getAll('rumpel', 'notes', { author: 'ann', orderBy: 'n', ordering: 'descending' });
    assert.deepEqual(data(res), [notes[1], notes[0]]);
  });
  await check('getAll', 'a take that is no number: 400', () => fails(hat.hatData().getAll('rumpel', 'notes', { take: 'x' }), 400));
  await check('update', 'the records that were read, changed, go back', async () => {
    const changed = records.slice(0, 2).map((r) => ({ ...r, data: { ...r.data, text: `${r.data.text}, changed` } }));
    const res = await hat.hatData().update(changed);
    assert.equal(res.status, 201);
    assert.deepEqual(data(res), changed.map((r) => r.data));
    const all = await hat.hatData().getAll('rumpel', 'notes', { orderBy: 'n' });
    assert.deepEqual(data(all), [...changed.map((r) => r.data), notes[2]]);
    assert.deepEqual(all.parsedBody.map((r) => r.recordId), records.map((r) => r.recordId));
  });
  await check('update', 'a record that is not there: 400, and nothing changed', async () => {
    const before = (await hat.hatData().getAllDefault('rumpel', 'notes')).parsedBody;
    const missing = { ...records[0], recordId: 'ffffffff-ffff-4fff-8fff-ffffffffffff', data: 2 };
    await fails(hat.hatData().update([{ ...records[1], data: 1 }, missing]), 400);
    assert.deepEqual((await hat.hatData().getAllDefault('rumpel', 'notes')).parsedBody, before);
  });
  await check('delete', 'one record', async () => {
    const res = await hat.hatData().delete([records[0].recordId]);
    assert.deepEqual(res.parsedBody, { message: 'All records deleted' });
    assert.equal((await hat.hatData().getAllDefault('rumpel', 'notes')).parsedBody.length, 2);
  });
  await check('delete', 'one that is gone with one that is there: 400, and neither goes', async () => {
    await fails(hat.hatData().delete([records[0].recordId, records[1].recordId]), 400);
    assert.equal((await hat.hatData().getAllDefault('rumpel', 'notes')).parsedBody.length, 2);
  });
  await check('delete', 'several records, their ids joined by a comma', async () => {
    await hat.hatData().delete([records[1].recordId, records[2].recordId]);
    assert.match(last.url, /records=[0-9a-f-]{36},[0-9a-f-]{36}$/);
    assert.deepEqual((await hat.hatData().getAllDefault('rumpel', 'notes')).parsedBody, []);
  });
}

async function debitChecks(hat) {
  const at = '/data-debit/notes-for-ann';
  const bundle = { name: 'notes-for-ann', bundle: { notes: { endpoints: [{ endpoint: 'rumpel/shared' }], orderBy: 'n' } } };
  await hat.hatData().create('rumpel', 'shared', [{ n: 2 }, { n: 1 }]);
  await raw('POST', at, hat.auth().getToken(), {
    dataDebitKey: 'notes-for-ann', purpose: 'To read them', start: '2024-01-01T00:00:00+0000', period: 604800000,
    cancelAtPeriodEnd: false, requestClientName: 'Ann', requestClientUrl: 'https://ann.example',
    requestClientLogoUrl: 'https://ann.example/logo.png', termsUrl: 'https://ann.example/terms', bundle,
  });
  await check('dataDebits.getById', 'a new debit is neither accepted nor active', async () => {
    const d = (await hat.dataDebits().getById('notes-for-ann')).parsedBody;
    assert.deepEqual([d.dataDebitKey, d.requestClientName, d.accepted, d.active], ['notes-for-ann', 'Ann', false, false]);
    assert.equal(d.permissions.length, 1);
    assert.equal(d.permissions[0].period, 604800000);
    assert.deepEqual(d.permissionsLatest.bundle, bundle);
    assert.ok(!Number.isNaN(Date.parse(d.dateCreated.replace(/\+0000$/, 'Z'))), d.dateCreated);
  });
  await check('dataDebits.getDataDebitValues', 'nothing before the owner agrees: 400', () =>
    fails(hat.dataDebits().getDataDebitValues('notes-for-ann'), 400));
  await raw('GET', `${at}/enable`, hat.auth().getToken());
  await check('dataDebits.getDataDebitValues', 'the bundle once the owner agreed', async () => {
    const values = (await hat.dataDebits().getDataDebitValues('notes-for-ann')).parsedBody;
    assert.deepEqual(Object.keys(values), ['bundle']);
    assert.deepEqual(values.bundle.notes.map((r) => [r.endpoint, r.data]), [['rumpel/shared', { n: 1 }], ['rumpel/shared', { n: 2 }]]);
  });
  for (const [method, call] of [['getAllDefault', () => hat.dataDebits().getAllDefault()], ['getAll', () => hat.dataDebits().getAll({ take: '10' })]]) {
    await check(`dataDebits.${method}`, 'lists the debit, active now', async () => {
      const all = (await call()).parsedBody;
      assert.deepEqual(all.map((d) => [d.dataDebitKey, d.active]), [['notes-for-ann', true]]);
      assert.deepEqual(all[0].permissionsActive, all[0].permissionsLatest);
    });
  }
  await check('dataDebits.getById', 'one that is not there: 404', () => fails(hat.dataDebits().getById('none'), 404));
}

async function applicationChecks(hat) {
  for (const [method, call] of [['getAllDefault', () => hat.applications().getAllDefault()], ['getAll', () => hat.applications().getAll({ kind: 'App' })]]) {
    await check(`applications.${method}`, 'lists the catalogue', async () => {
      const all = (await call()).parsedBody;
      assert.deepEqual(all.map((a) => a.application.id), ['notes-app', 'plug']);
      assert.equal(hat.applications().getAppStatus(all[0]), 'untouched');
    });
  }
  await check('applications.getById', 'says as much as the catalogue, and how it stands at this HAT', async () => {
    const app = (await hat.applications().getById('notes-app')).parsedBody;
    assert.deepEqual(app.application, require('./applications.json')[0]);
    assert.deepEqual([app.setup, app.enabled, app.active, app.needsUpdating], [false, false, false, false]);
  });
  await check('applications.getAppStatus', 'follows setup and disable', async () => {
    await raw('GET', '/applications/notes-app/setup', hat.auth().getToken());
    assert.equal(hat.applications().getAppStatus((await hat.applications().getById('notes-app')).parsedBody), 'goto');
    await raw('GET', '/applications/notes-app/disable', hat.auth().getToken());
    assert.equal(hat.applications().getAppStatus((await hat.applications().getById('notes-app')).parsedBody), 'untouched');
  });
  await check('applications.getSetupUrl', 'leads to the front end of this HAT', async () => {
    const app = (await hat.applications().getById('notes-app')).parsedBody;
    assert.ok(hat.applications().getSetupUrl(app, 'r', 'f').startsWith(`http://${domain}/#/hatlogin?name=notes-app&`));
  });
  await check('applications.getById', 'one that is not in the catalogue: 404', () => fails(hat.applications().getById('none'), 404));
}

// Files are not served. A client must be able to see that from the answer.
async function fileChecks(hat) {
  const files = hat.files();
  const calls = {
    uploadFile: ['POST', '/files/upload', () => files.uploadFile({ name: 'a.png', source: 'rumpel' }, Buffer.from('x'), 'image/png')],
    markFileAsPublic: ['GET', '/files/allowAccessPublic/f1', () => files.markFileAsPublic('f1')],
    markFileAsPrivate: ['GET', '/files/restrictAccessPublic/f1', () => files.markFileAsPrivate('f1')],
    updateFileParameters: ['PUT', '/files/file/f1', () => files.updateFileParameters('f1', { name: 'b.png', source: 'rumpel' })],
    searchFiles: ['POST', '/files/search', () => files.searchFiles({ name: 'a.png', source: 'rumpel' })],
    deleteFile: ['DELETE', '/files/file/f1', () => files.deleteFile('f1')],
    generateFileContentUrl: ['GET', '/files/content/f1', async () => {
      const res = await fetch(files.generateFileContentUrl('f1'));
      throw Object.assign(new Error(), { cause: 'HAT_API_EXCEPTION', status: res.status });
    }],
  };
  for (const [method, [verb, path, call]] of Object.entries(calls)) {
    await check(`files.${method}`, 'is told that there is no such route: 404', async () => {
      await fails(call(), 404);
      assert.deepEqual(JSON.parse(last.body), {
        error: 'Handler Not Found', message: `Request handler at ${verb}:/api/v2.6${path} does not exist`,
      });
    });
  }
}

main().then(
  () => console.log(JSON.stringify({ checks })),
  (e) => { console.error(e); process.exitCode = 1; },
);
