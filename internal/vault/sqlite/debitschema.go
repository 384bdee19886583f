package sqlite

// debitSchema is a migration. It reads stored debits with SQLite's own functions. A text that they can't read
// counts its bytes and has no names.
const debitSchema = `
-- What each data debit takes, and who proposed it: counted, so that a proposal reads none of the others.
CREATE TABLE debits (
	id      TEXT PRIMARY KEY,
	partner TEXT NOT NULL,     -- empty: not known
	bytes   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX debits_of_partner ON debits (partner, bytes);

-- Which debit has a bundle of that name, conditions included.
CREATE TABLE debit_bundles (
	name  TEXT PRIMARY KEY,
	debit TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX debit_bundles_of ON debit_bundles (debit);

INSERT INTO debits SELECT id, '', length(CAST(body AS BLOB)) FROM documents WHERE kind = 'debit';
INSERT OR IGNORE INTO debit_bundles
	SELECT b.value, d.id
	FROM documents d, json_each(CASE WHEN json_valid(d.body) THEN d.body ELSE '{}' END, '$.permissions') p,
		json_each(json_array(json_extract(p.value, '$.bundle.name'), json_extract(p.value, '$.conditions.name'))) b
	WHERE d.kind = 'debit' AND b.type = 'text'
	ORDER BY d.n;

-- One after the other, of a kind.
CREATE INDEX documents_of_kind ON documents (kind, n);
`
