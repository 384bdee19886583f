package sqlite

// fieldSchema is a migration.
const fieldSchema = `
-- An index of the values at a path of the data at an endpoint.
CREATE TABLE fields (
	n        INTEGER PRIMARY KEY,
	endpoint INTEGER NOT NULL REFERENCES endpoints (n),
	path     TEXT NOT NULL,
	built    INTEGER NOT NULL,  -- records born up to here have their key,
	behind   INTEGER NOT NULL,  -- and those born behind here; so the index is whole when the two meet
	cut      INTEGER NOT NULL,  -- bytes of data of records whose key is cut
	gone     INTEGER NOT NULL   -- nobody asks for it any more; its keys are being removed
) STRICT;
CREATE UNIQUE INDEX fields_once ON fields (endpoint, path) WHERE NOT gone;

-- key is jsonb.AppendKey of the value, cut to 512 bytes; empty if there is none.
CREATE TABLE field_keys (
	field INTEGER NOT NULL,
	key   BLOB NOT NULL,
	born  INTEGER NOT NULL,
	PRIMARY KEY (field, key, born)
) STRICT, WITHOUT ROWID;

-- Which grant or document asks for which field.
CREATE TABLE field_uses (
	n        INTEGER PRIMARY KEY,  -- in the order they asked
	kind     TEXT NOT NULL,
	holder   TEXT NOT NULL,
	endpoint INTEGER NOT NULL REFERENCES endpoints (n),
	path     TEXT NOT NULL,
	UNIQUE (kind, holder, endpoint, path)
) STRICT;

-- Grants and documents that have not been asked yet.
CREATE TABLE undeclared (
	kind   TEXT NOT NULL,
	holder TEXT NOT NULL,
	PRIMARY KEY (kind, holder)
) STRICT, WITHOUT ROWID;
INSERT INTO undeclared SELECT 'grant', id FROM functions WHERE enabled;
INSERT INTO undeclared SELECT kind, id FROM documents WHERE kind IN ('combinator', 'bundle', 'debit');
`
