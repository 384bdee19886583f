package sqlite

import (
	"context"
	"fmt"
	"time"

	"she/internal/vault"
)

// migrations are applied in order, each once; their number is the schema version. A published one is never
// changed.
//
// Times are microseconds since 1970 in UTC. Rows that other rows name have an integer key n of their own,
// so that an endpoint or a user costs a record one or two bytes.
var migrations = []string{`
-- The HAT itself: one row.
CREATE TABLE hat (
	one      INTEGER PRIMARY KEY CHECK (one = 1),
	id       TEXT NOT NULL,
	created  INTEGER NOT NULL,
	seq      INTEGER NOT NULL,  -- the last position given out
	receipts INTEGER NOT NULL,  -- how many there are
	head     BLOB NOT NULL      -- hash of the last one
) STRICT;

CREATE TABLE users (
	n           INTEGER PRIMARY KEY,
	id          BLOB NOT NULL UNIQUE,
	username    TEXT NOT NULL UNIQUE,
	password    BLOB,
	roles       TEXT NOT NULL,
	owner       INTEGER NOT NULL,
	enabled     INTEGER NOT NULL,
	tokens_from INTEGER
) STRICT;
CREATE UNIQUE INDEX users_one_owner ON users (owner) WHERE owner;

CREATE TABLE endpoints (
	n    INTEGER PRIMARY KEY,
	name TEXT NOT NULL UNIQUE
) STRICT;

-- The functions that stand behind a record, its writer last, as ids between spaces. NULL where chains are named: a
-- person or plug wrote it.
CREATE TABLE chains (
	n    INTEGER PRIMARY KEY,
	path TEXT NOT NULL UNIQUE
) STRICT;

-- One row for each position, for ever. Erasing a record leaves its rows here: they hold no data.
CREATE TABLE log (
	seq      INTEGER PRIMARY KEY,
	kind     INTEGER NOT NULL,  -- 1 created, 2 changed, 3 erased
	born     INTEGER NOT NULL,  -- which record
	endpoint INTEGER NOT NULL REFERENCES endpoints (n),
	chain    INTEGER REFERENCES chains (n),
	at       INTEGER NOT NULL
) STRICT;

-- What the log says now. born, the position of a record's creation, is its key: the order of creation is the order of
-- rows, and an index of anything else ends in it.
CREATE TABLE records (
	born     INTEGER PRIMARY KEY,
	id       BLOB NOT NULL UNIQUE,
	endpoint INTEGER NOT NULL REFERENCES endpoints (n),
	seq      INTEGER NOT NULL,  -- of the last change
	user     INTEGER NOT NULL REFERENCES users (n),
	run      BLOB,
	chain    INTEGER REFERENCES chains (n),
	created  INTEGER NOT NULL,
	updated  INTEGER NOT NULL,
	digest   BLOB NOT NULL,     -- SHA-256 of data
	data     TEXT NOT NULL      -- canonical JSON
) STRICT;
CREATE INDEX records_in_order ON records (endpoint);
CREATE INDEX records_by_change ON records (endpoint, seq);
CREATE UNIQUE INDEX records_once ON records (endpoint, digest);

CREATE TABLE groups (n INTEGER PRIMARY KEY) STRICT;
CREATE TABLE members (
	grp    INTEGER NOT NULL REFERENCES groups (n) ON DELETE CASCADE,
	record INTEGER NOT NULL REFERENCES records (born) ON DELETE CASCADE,
	PRIMARY KEY (grp, record)
) STRICT, WITHOUT ROWID;
CREATE INDEX members_of_record ON members (record);

-- Each consent as it was given. Never changed, never removed: runs refer to it.
CREATE TABLE grants (
	n    INTEGER PRIMARY KEY,
	body TEXT NOT NULL
) STRICT;

CREATE TABLE functions (
	n              INTEGER PRIMARY KEY,
	id             TEXT NOT NULL UNIQUE,
	granted        INTEGER NOT NULL REFERENCES grants (n),
	enabled        INTEGER NOT NULL,
	cursor         INTEGER NOT NULL,
	last_execution INTEGER,
	epoch          INTEGER NOT NULL   -- of the last lease
) STRICT;

CREATE TABLE pending (
	function   INTEGER PRIMARY KEY REFERENCES functions (n),
	upto       INTEGER NOT NULL,
	since      INTEGER NOT NULL,
	not_before INTEGER,            -- NULL: only when somebody asks
	attempt    INTEGER NOT NULL,
	fault      TEXT,
	parked     INTEGER NOT NULL,
	chain      INTEGER REFERENCES chains (n)
) STRICT;

CREATE TABLE leases (
	function INTEGER PRIMARY KEY REFERENCES functions (n),
	run      BLOB NOT NULL,
	epoch    INTEGER NOT NULL,
	expires  INTEGER NOT NULL,
	life     TEXT NOT NULL     -- of the server; a lease of another life has lapsed
) STRICT;

CREATE TABLE runs (
	n          INTEGER PRIMARY KEY,
	id         BLOB NOT NULL UNIQUE,
	function   TEXT NOT NULL,
	granted    INTEGER NOT NULL REFERENCES grants (n),
	state      TEXT NOT NULL,
	plan       TEXT NOT NULL,   -- all but the grant
	ended      INTEGER,
	fault      TEXT,
	stats      TEXT,
	asked      TEXT,            -- the bundle the function asked for this time
	read_ids   BLOB,
	duplicates INTEGER NOT NULL,
	log        BLOB             -- last, so that lists of runs don't read it
) STRICT;
CREATE INDEX runs_of_function ON runs (function, id);

-- What each run wrote, once.
CREATE TABLE outputs (
	run      BLOB NOT NULL,
	response INTEGER NOT NULL,
	ordinal  INTEGER NOT NULL,
	record   BLOB NOT NULL,
	PRIMARY KEY (run, response, ordinal)
) STRICT, WITHOUT ROWID;

CREATE TABLE receipts (
	number INTEGER PRIMARY KEY,
	body   TEXT NOT NULL
) STRICT;

-- Combinators, bundles, data debits: named texts of their own kinds.
CREATE TABLE documents (
	n       INTEGER PRIMARY KEY,  -- in order of creation
	kind    TEXT NOT NULL,
	id      TEXT NOT NULL,
	body    TEXT NOT NULL,
	created INTEGER NOT NULL,
	updated INTEGER NOT NULL,
	UNIQUE (kind, id)
) STRICT;
`, `
-- Heads of the receipts that the HAT's key has signed.
CREATE TABLE checkpoints (
	number    INTEGER PRIMARY KEY,
	hash      BLOB NOT NULL,
	at        INTEGER NOT NULL,
	signature BLOB NOT NULL
) STRICT;
`, fieldSchema, `
-- Each run once, at the number of the last change of its state.
CREATE TABLE run_changes (
	n   INTEGER PRIMARY KEY,
	run BLOB NOT NULL UNIQUE
) STRICT;
INSERT INTO run_changes (run) SELECT id FROM runs ORDER BY id;
`, `
-- Whether somebody asked for this work to be done again.
ALTER TABLE pending ADD COLUMN replay INTEGER NOT NULL DEFAULT 0;
`, `
-- Most records are never changed, and those that are new are found by their birth. From here on a birth has a row in
-- log only once its record was changed or erased: until then the record itself says all that is in it.
DROP INDEX records_by_change;
CREATE INDEX records_changed ON records (endpoint, seq) WHERE seq > born;
`, rangeSchema, `
-- Of a range, records that every one of these grants shows too, as numbers between spaces; NULL: any. And that this one does
-- not show; NULL: any.
ALTER TABLE ranges ADD COLUMN under TEXT;
ALTER TABLE ranges ADD COLUMN beyond INTEGER REFERENCES grants (n);
`, `
-- Which runs took the place of something at an endpoint, without reading the data.
DROP INDEX superseded_at;
CREATE INDEX superseded_at ON superseded (endpoint, by_run);
`, `
-- How many of the failed attempts were for a reason of the operator's, such as a full disk: these never park work. What
-- was parked for one goes on.
ALTER TABLE pending ADD COLUMN outages INTEGER NOT NULL DEFAULT 0;
ALTER TABLE ranges ADD COLUMN outages INTEGER NOT NULL DEFAULT 0;
UPDATE pending SET parked = 0 WHERE parked AND not_before IS NOT NULL AND json_extract(fault, '$.who') = 'operator';
UPDATE ranges SET parked = 0 WHERE parked AND not_before IS NOT NULL AND json_extract(fault, '$.who') = 'operator';
`, debitSchema, `
-- How many records there are, so that nobody has to count them.
ALTER TABLE hat ADD COLUMN records INTEGER NOT NULL DEFAULT 0;
UPDATE hat SET records = (SELECT count(*) FROM records);
`, `
-- Erasures that take several transactions and are not done yet: who asked for them, and for which records.
CREATE TABLE erasures (
	n           INTEGER PRIMARY KEY,
	user        BLOB NOT NULL,
	application TEXT NOT NULL,
	endpoint    INTEGER REFERENCES endpoints (n),  -- what was born here, up to a position; NULL: the records alone
	upto        INTEGER NOT NULL,
	writer      INTEGER REFERENCES users (n),      -- of these what this user wrote; NULL: all
	records     BLOB                               -- ids that are left, one after the other
) STRICT;
`, `
-- Random bytes that the receipt of a record's content is made with. NULL: the record is from before there were any.
ALTER TABLE records ADD COLUMN salt BLOB;
ALTER TABLE superseded ADD COLUMN salt BLOB;
`}

// applicationID marks the files as vaults: "SHE1".
const applicationID = 0x53484531

// schemaOf returns the version of a file's schema. vault.ErrNewer.
func schemaOf(ctx context.Context, c *conn) (version int, err error) {
	if err := c.Get(ctx, "PRAGMA user_version", nil, &version); err != nil {
		return 0, err
	}
	if version > len(migrations) {
		return version, fmt.Errorf("%w: schema %d, known up to %d", vault.ErrNewer, version, len(migrations))
	}
	return version, nil
}

// migrate brings the file to the current schema in one transaction. After an error the file is unchanged.
// vault.ErrNewer.
func migrate(ctx context.Context, c *conn) error {
	var application int
	version, err := schemaOf(ctx, c)
	if err != nil || version == len(migrations) {
		return err
	}
	if err := c.Get(ctx, "PRAGMA application_id", nil, &application); err != nil {
		return err
	}
	if version > 0 && application != applicationID {
		return fmt.Errorf("%w: it belongs to another program", vault.ErrDamaged)
	}
	text := "BEGIN IMMEDIATE;"
	if version == 0 {
		text += "CREATE TABLE migrations (version INTEGER PRIMARY KEY, applied INTEGER NOT NULL) STRICT;"
	}
	for ; version < len(migrations); version++ {
		text += migrations[version] +
			fmt.Sprintf("INSERT INTO migrations VALUES (%d, %d);", version+1, time.Now().UnixMicro())
	}
	text += fmt.Sprintf("PRAGMA application_id = %d; PRAGMA user_version = %d; COMMIT", applicationID, version)
	if _, err := c.c.ExecContext(ctx, text); err != nil {
		// If we stop here, the transaction is undone.
		_, _ = c.c.ExecContext(ctx, "ROLLBACK")
		return fmt.Errorf("migrate to schema %d: %w", version, err)
	}
	return nil
}
