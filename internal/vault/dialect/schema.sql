-- The rows of all HATs in shared tables. Every key leads with hat, the number of the HAT: a statement for one HAT reads
-- by index, and tables can be spread over machines by that column alone. Columns have the names of the vault file's.
--
-- What SQLite's INTEGER holds is bigint, or boolean where it is a flag. Texts compare byte by byte, as in SQLite. Ids are
-- bytea: the statements compare and sort them as bytes.

-- Table hat of the file, and the HAT's lock: whoever holds the row writes.
CREATE TABLE hats (
	hat        bigint PRIMARY KEY,
	id         text COLLATE "C" NOT NULL UNIQUE,
	created    bigint NOT NULL,
	seq        bigint NOT NULL,
	receipts   bigint NOT NULL,
	records    bigint NOT NULL DEFAULT 0,
	head       bytea NOT NULL,
	last_range bigint NOT NULL DEFAULT 0  -- the last number given to a range: plans name it, so it is never used again
) WITH (fillfactor = 50);  -- changes at each commit, within its page

CREATE TABLE users (
	hat         bigint NOT NULL,
	n           bigint NOT NULL,
	id          bytea NOT NULL,
	username    text COLLATE "C" NOT NULL,
	password    bytea,
	roles       text COLLATE "C" NOT NULL,
	owner       boolean NOT NULL,
	enabled     boolean NOT NULL,
	tokens_from bigint,
	PRIMARY KEY (hat, n),
	UNIQUE (hat, id),
	UNIQUE (hat, username)
);
CREATE UNIQUE INDEX users_one_owner ON users (hat) WHERE owner;

CREATE TABLE endpoints (
	hat  bigint NOT NULL,
	n    bigint NOT NULL,
	name text COLLATE "C" NOT NULL,
	PRIMARY KEY (hat, n),
	UNIQUE (hat, name)
);

CREATE TABLE chains (
	hat  bigint NOT NULL,
	n    bigint NOT NULL,
	path text COLLATE "C" NOT NULL,
	PRIMARY KEY (hat, n),
	UNIQUE (hat, path)
);

CREATE TABLE log (
	hat      bigint NOT NULL,
	seq      bigint NOT NULL,
	kind     bigint NOT NULL,
	born     bigint NOT NULL,
	endpoint bigint NOT NULL,
	chain    bigint,
	at       bigint NOT NULL,
	PRIMARY KEY (hat, seq)
);

CREATE TABLE records (
	hat      bigint NOT NULL,
	born     bigint NOT NULL,
	id       bytea NOT NULL,
	endpoint bigint NOT NULL,
	seq      bigint NOT NULL,
	"user"   bigint NOT NULL,
	run      bytea,
	chain    bigint,
	created  bigint NOT NULL,
	updated  bigint NOT NULL,
	digest   bytea NOT NULL,
	data     text COLLATE "C" NOT NULL,  -- not jsonb: the canonical bytes must come back
	salt     bytea,
	PRIMARY KEY (hat, born),
	UNIQUE (hat, id)
);
CREATE INDEX records_in_order ON records (hat, endpoint, born);
CREATE INDEX records_changed ON records (hat, endpoint, seq) WHERE seq > born;
CREATE UNIQUE INDEX records_once ON records (hat, endpoint, digest);

-- The keys that refer to others are those that delete something; the logic keeps the rest.
CREATE TABLE groups (
	hat bigint NOT NULL,
	n   bigint NOT NULL,
	PRIMARY KEY (hat, n)
);
CREATE TABLE members (
	hat    bigint NOT NULL,
	grp    bigint NOT NULL,
	record bigint NOT NULL,
	PRIMARY KEY (hat, grp, record),
	FOREIGN KEY (hat, grp) REFERENCES groups (hat, n) ON DELETE CASCADE,
	FOREIGN KEY (hat, record) REFERENCES records (hat, born) ON DELETE CASCADE
);
CREATE INDEX members_of_record ON members (hat, record, grp);

CREATE TABLE grants (
	hat      bigint NOT NULL,
	n        bigint NOT NULL,
	body     text COLLATE "C" NOT NULL,
	manifest bytea,
	PRIMARY KEY (hat, n)
);

CREATE TABLE functions (
	hat            bigint NOT NULL,
	n              bigint NOT NULL,
	id             text COLLATE "C" NOT NULL,
	granted        bigint NOT NULL,
	enabled        boolean NOT NULL,
	cursor         bigint NOT NULL,
	last_execution bigint,
	epoch          bigint NOT NULL,
	PRIMARY KEY (hat, n),
	UNIQUE (hat, id)
);

CREATE TABLE pending (
	hat        bigint NOT NULL,
	function   bigint NOT NULL,
	upto       bigint NOT NULL,
	since      bigint NOT NULL,
	not_before bigint,
	attempt    bigint NOT NULL,
	fault      text COLLATE "C",
	parked     boolean NOT NULL,
	chain      bigint,
	replay     boolean NOT NULL DEFAULT false,
	tried      bigint NOT NULL DEFAULT 0,
	most       bigint NOT NULL DEFAULT 0,
	last_run   bytea,
	outages    bigint NOT NULL DEFAULT 0,
	PRIMARY KEY (hat, function)
) WITH (fillfactor = 50);

CREATE TABLE leases (
	hat      bigint NOT NULL,
	function bigint NOT NULL,
	run      bytea NOT NULL,
	epoch    bigint NOT NULL,
	expires  bigint NOT NULL,
	life     text COLLATE "C" NOT NULL,
	PRIMARY KEY (hat, function)
) WITH (fillfactor = 50);

CREATE TABLE ranges (
	hat            bigint NOT NULL,
	n              bigint NOT NULL,
	function       bigint NOT NULL,
	after          bigint NOT NULL,
	"only"         text COLLATE "C",
	made_since     bigint,
	made_before    bigint,
	aside          boolean NOT NULL,
	replaces       bytea,
	from_date      bigint,
	last_execution bigint,
	upto           bigint NOT NULL,
	since          bigint NOT NULL,
	not_before     bigint,
	attempt        bigint NOT NULL,
	fault          text COLLATE "C",
	parked         boolean NOT NULL,
	replay         boolean NOT NULL,
	chain          bigint,
	most           bigint NOT NULL,
	last_run       bytea,
	under          text COLLATE "C",
	beyond         bigint,
	outages        bigint NOT NULL DEFAULT 0,
	PRIMARY KEY (hat, n)
);
CREATE INDEX ranges_of_function ON ranges (hat, function);

CREATE TABLE runs (
	hat        bigint NOT NULL,
	n          bigint NOT NULL,
	id         bytea NOT NULL,
	function   text COLLATE "C" NOT NULL,
	granted    bigint NOT NULL,
	state      text COLLATE "C" NOT NULL,
	plan       text COLLATE "C" NOT NULL,
	ended      bigint,
	fault      text COLLATE "C",
	stats      text COLLATE "C",
	asked      text COLLATE "C",
	read_ids   bytea,
	duplicates bigint NOT NULL,
	log        bytea,
	PRIMARY KEY (hat, n),
	UNIQUE (hat, id)
);
CREATE INDEX runs_of_function ON runs (hat, function, id);

CREATE TABLE run_changes (
	hat bigint NOT NULL,
	n   bigint NOT NULL,
	run bytea NOT NULL,
	PRIMARY KEY (hat, n),
	UNIQUE (hat, run)
);

CREATE TABLE outputs (
	hat      bigint NOT NULL,
	run      bytea NOT NULL,
	response bigint NOT NULL,
	ordinal  bigint NOT NULL,
	record   bytea NOT NULL,
	PRIMARY KEY (hat, run, response, ordinal)
);

CREATE TABLE generations (
	hat      bigint NOT NULL,
	replaced bytea NOT NULL,
	run      bytea NOT NULL,
	PRIMARY KEY (hat, replaced, run)
);

CREATE TABLE superseded (
	hat      bigint NOT NULL,
	n        bigint NOT NULL,
	id       bytea NOT NULL,
	born     bigint NOT NULL,
	endpoint bigint NOT NULL,
	seq      bigint NOT NULL,
	"user"   bigint NOT NULL,
	run      bytea NOT NULL,
	chain    bigint,
	created  bigint NOT NULL,
	updated  bigint NOT NULL,
	digest   bytea NOT NULL,
	by_run   bytea NOT NULL,
	at       bigint NOT NULL,
	data     text COLLATE "C" NOT NULL,
	salt     bytea,
	PRIMARY KEY (hat, n),
	UNIQUE (hat, id)
);
CREATE INDEX superseded_at ON superseded (hat, endpoint, by_run);
CREATE INDEX superseded_by ON superseded (hat, by_run, n);

CREATE TABLE receipts (
	hat    bigint NOT NULL,
	number bigint NOT NULL,
	body   text COLLATE "C" NOT NULL,
	PRIMARY KEY (hat, number)
);

CREATE TABLE checkpoints (
	hat       bigint NOT NULL,
	number    bigint NOT NULL,
	hash      bytea NOT NULL,
	at        bigint NOT NULL,
	signature bytea NOT NULL,
	PRIMARY KEY (hat, number)
);

CREATE TABLE documents (
	hat     bigint NOT NULL,
	n       bigint NOT NULL,
	kind    text COLLATE "C" NOT NULL,
	id      text COLLATE "C" NOT NULL,
	body    text COLLATE "C" NOT NULL,
	created bigint NOT NULL,
	updated bigint NOT NULL,
	PRIMARY KEY (hat, n),
	UNIQUE (hat, kind, id)
);
CREATE INDEX documents_of_kind ON documents (hat, kind, n);

CREATE TABLE debits (
	hat     bigint NOT NULL,
	id      text COLLATE "C" NOT NULL,
	partner text COLLATE "C" NOT NULL,
	bytes   bigint NOT NULL,
	PRIMARY KEY (hat, id)
);
CREATE INDEX debits_of_partner ON debits (hat, partner, bytes);

CREATE TABLE debit_bundles (
	hat   bigint NOT NULL,
	name  text COLLATE "C" NOT NULL,
	debit text COLLATE "C" NOT NULL,
	PRIMARY KEY (hat, name)
);
CREATE INDEX debit_bundles_of ON debit_bundles (hat, debit);

CREATE TABLE fields (
	hat      bigint NOT NULL,
	n        bigint NOT NULL,
	endpoint bigint NOT NULL,
	path     text COLLATE "C" NOT NULL,
	built    bigint NOT NULL,
	behind   bigint NOT NULL,
	cut      bigint NOT NULL,
	gone     boolean NOT NULL,
	PRIMARY KEY (hat, n)
);
CREATE UNIQUE INDEX fields_once ON fields (hat, endpoint, path) WHERE NOT gone;

CREATE TABLE field_keys (
	hat   bigint NOT NULL,
	field bigint NOT NULL,
	key   bytea NOT NULL,
	born  bigint NOT NULL,
	PRIMARY KEY (hat, field, key, born)
);

CREATE TABLE field_uses (
	hat      bigint NOT NULL,
	n        bigint NOT NULL,
	kind     text COLLATE "C" NOT NULL,
	holder   text COLLATE "C" NOT NULL,
	endpoint bigint NOT NULL,
	path     text COLLATE "C" NOT NULL,
	PRIMARY KEY (hat, n),
	UNIQUE (hat, kind, holder, endpoint, path)
);

CREATE TABLE undeclared (
	hat    bigint NOT NULL,
	kind   text COLLATE "C" NOT NULL,
	holder text COLLATE "C" NOT NULL,
	PRIMARY KEY (hat, kind, holder)
);

CREATE TABLE erasures (
	hat         bigint NOT NULL,
	n           bigint NOT NULL,
	"user"      bytea NOT NULL,
	application text COLLATE "C" NOT NULL,
	endpoint    bigint,
	upto        bigint NOT NULL,
	writer      bigint,
	records     bytea,
	PRIMARY KEY (hat, n)
);
