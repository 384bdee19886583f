package sqlite

// rangeSchema is the migration to ranges, generations and superseded records.
const rangeSchema = `
-- Of what waits behind the cursor: up to where it has failed, how many records a run takes, and the last run.
ALTER TABLE pending ADD COLUMN tried INTEGER NOT NULL DEFAULT 0;
ALTER TABLE pending ADD COLUMN most INTEGER NOT NULL DEFAULT 0;
ALTER TABLE pending ADD COLUMN last_run BLOB;

-- Ground before the cursor that is to be covered on its own: after < seq <= upto. The columns from upto on mean what they
-- mean in pending.
CREATE TABLE ranges (
	n              INTEGER PRIMARY KEY AUTOINCREMENT,  -- never used again: plans name it
	function       INTEGER NOT NULL REFERENCES functions (n),
	after          INTEGER NOT NULL,
	only           TEXT,     -- records at these endpoints, between spaces; NULL: all
	made_since     INTEGER,  -- records created then or later; NULL: whenever
	made_before    INTEGER,  -- records created before; NULL: whenever
	aside          INTEGER NOT NULL,  -- whether it was the front once
	replaces       BLOB,     -- the run whose output is replaced; NULL: none
	from_date      INTEGER,  -- what the function is told; NULL: as for a first run
	last_execution INTEGER,  -- the same
	upto           INTEGER NOT NULL,
	since          INTEGER NOT NULL,
	not_before     INTEGER,
	attempt        INTEGER NOT NULL,
	fault          TEXT,
	parked         INTEGER NOT NULL,
	replay         INTEGER NOT NULL,
	chain          INTEGER REFERENCES chains (n),
	most           INTEGER NOT NULL,
	last_run       BLOB
) STRICT;
CREATE INDEX ranges_of_function ON ranges (function);

-- Which committed runs have covered once more what another had. A replay that was split has several.
CREATE TABLE generations (
	replaced BLOB NOT NULL,
	run      BLOB NOT NULL,
	PRIMARY KEY (replaced, run)
) STRICT, WITHOUT ROWID;

-- Derived records whose place others have taken. They are no records any more: no reading or link reaches them.
CREATE TABLE superseded (
	n        INTEGER PRIMARY KEY,
	id       BLOB NOT NULL UNIQUE,
	born     INTEGER NOT NULL,
	endpoint INTEGER NOT NULL REFERENCES endpoints (n),
	seq      INTEGER NOT NULL,
	user     INTEGER NOT NULL REFERENCES users (n),
	run      BLOB NOT NULL,
	chain    INTEGER REFERENCES chains (n),
	created  INTEGER NOT NULL,
	updated  INTEGER NOT NULL,
	digest   BLOB NOT NULL,
	by_run   BLOB NOT NULL,
	at       INTEGER NOT NULL,
	data     TEXT NOT NULL
) STRICT;
CREATE INDEX superseded_at ON superseded (endpoint);
CREATE INDEX superseded_by ON superseded (by_run);

-- What the author said of the function when the consent was given.
ALTER TABLE grants ADD COLUMN manifest BLOB;
`
