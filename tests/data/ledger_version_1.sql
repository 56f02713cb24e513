-- A SQLite ledger of schema version 1 with one run, as the code of that version wrote it. It never changes.
BEGIN TRANSACTION;
CREATE TABLE attempts (
	sequence INTEGER NOT NULL, 
	run_id TEXT NOT NULL, 
	batch_number INTEGER NOT NULL, 
	events INTEGER NOT NULL, 
	http_status INTEGER, 
	failure TEXT NOT NULL, 
	recorded_at TEXT NOT NULL, 
	PRIMARY KEY (sequence), 
	FOREIGN KEY(run_id) REFERENCES runs (run_id)
);
INSERT INTO "attempts" VALUES(1,'20261123-first',1,2,NULL,'timeout','2026-11-23T12:00:00.123456Z');
CREATE TABLE intents (
	sequence INTEGER NOT NULL, 
	"plan" BIGINT NOT NULL, 
	run_id TEXT NOT NULL, 
	transaction_id TEXT NOT NULL, 
	subscription TEXT NOT NULL, 
	code TEXT NOT NULL, 
	part TEXT NOT NULL, 
	request_id TEXT NOT NULL, 
	timestamp TEXT NOT NULL, 
	properties TEXT NOT NULL, 
	quantity TEXT NOT NULL, 
	model TEXT NOT NULL, 
	spend TEXT NOT NULL, 
	recorded_at TEXT NOT NULL, 
	PRIMARY KEY (sequence), 
	UNIQUE (transaction_id, "plan"), 
	FOREIGN KEY("plan") REFERENCES plans (sequence), 
	FOREIGN KEY(run_id) REFERENCES runs (run_id)
);
INSERT INTO "intents" VALUES(1,1,'20261123-first','llr1-00000001','sub_1','tokens','total','chatcmpl-1','1795435200.123','{"model": "gpt-5", "total_tokens": "1"}','1','gpt-5','0.00012','2026-11-23T12:00:00.123456Z');
INSERT INTO "intents" VALUES(2,1,'20261123-first','llr1-00000002','sub_2','tokens','total','chatcmpl-2','1795435200.123','{"model": "gpt-5", "total_tokens": "2"}','2','gpt-5','0.00012','2026-11-23T12:00:00.123456Z');
CREATE TABLE outcomes (
	sequence INTEGER NOT NULL, 
	run_id TEXT NOT NULL, 
	intent BIGINT NOT NULL, 
	outcome TEXT NOT NULL, 
	reason TEXT NOT NULL, 
	recorded_at TEXT NOT NULL, 
	PRIMARY KEY (sequence), 
	FOREIGN KEY(run_id) REFERENCES runs (run_id), 
	FOREIGN KEY(intent) REFERENCES intents (sequence)
);
INSERT INTO "outcomes" VALUES(1,'20261123-first',1,'sent','','2026-11-23T12:00:01.123456Z');
INSERT INTO "outcomes" VALUES(2,'20261123-first',2,'unknown','timeout','2026-11-23T12:00:01.123456Z');
CREATE TABLE plan_uses (
	"plan" BIGINT NOT NULL, 
	run_id TEXT NOT NULL, 
	path TEXT NOT NULL, 
	recorded_at TEXT NOT NULL, 
	PRIMARY KEY ("plan", run_id), 
	FOREIGN KEY("plan") REFERENCES plans (sequence), 
	FOREIGN KEY(run_id) REFERENCES runs (run_id)
);
INSERT INTO "plan_uses" VALUES(1,'20261123-first','runs/20261123-first/plan.jsonl','2026-11-23T12:00:00.123456Z');
CREATE TABLE plans (
	sequence INTEGER NOT NULL, 
	plan_hash TEXT NOT NULL, 
	header TEXT NOT NULL, 
	PRIMARY KEY (sequence), 
	UNIQUE (plan_hash)
);
INSERT INTO "plans" VALUES(1,'plan-1','{"format": "litellm-lago-plan/1", "events": 2, "sha256": "hash"}');
CREATE TABLE run_ends (
	run_id TEXT NOT NULL, 
	ended_at TEXT NOT NULL, 
	outcome TEXT NOT NULL, 
	counts TEXT NOT NULL, 
	PRIMARY KEY (run_id), 
	FOREIGN KEY(run_id) REFERENCES runs (run_id)
);
INSERT INTO "run_ends" VALUES('20261123-first','2026-11-23T12:00:03.123456Z','applied','{"sent": 1, "unknown": 1}');
CREATE TABLE runs (
	run_id TEXT NOT NULL, 
	command TEXT NOT NULL, 
	window_start TEXT, 
	window_end TEXT, 
	started_at TEXT NOT NULL, 
	code_version TEXT NOT NULL, 
	configuration_hash TEXT NOT NULL, 
	PRIMARY KEY (run_id)
);
INSERT INTO "runs" VALUES('20261123-first','reconcile --apply','2026-11-20T00:00:00.000000Z','2026-11-23T00:00:00.000000Z','2026-11-23T12:00:00.123456Z','0.1.0','c0ffee');
CREATE TABLE schema_version (
	version INTEGER NOT NULL, 
	applied_at TEXT NOT NULL, 
	PRIMARY KEY (version)
);
INSERT INTO "schema_version" VALUES(1,'2026-11-23T12:00:00.123456Z');
CREATE TABLE verifications (
	sequence INTEGER NOT NULL, 
	run_id TEXT NOT NULL, 
	intent BIGINT NOT NULL, 
	verified BOOLEAN NOT NULL, 
	reason TEXT NOT NULL, 
	recorded_at TEXT NOT NULL, 
	PRIMARY KEY (sequence), 
	FOREIGN KEY(run_id) REFERENCES runs (run_id), 
	FOREIGN KEY(intent) REFERENCES intents (sequence)
);
INSERT INTO "verifications" VALUES(1,'20261123-first',1,1,'','2026-11-23T12:00:02.123456Z');
CREATE TRIGGER schema_version_no_UPDATE BEFORE UPDATE ON schema_version BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER schema_version_no_DELETE BEFORE DELETE ON schema_version BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER runs_no_UPDATE BEFORE UPDATE ON runs BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER runs_no_DELETE BEFORE DELETE ON runs BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER plans_no_UPDATE BEFORE UPDATE ON plans BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER plans_no_DELETE BEFORE DELETE ON plans BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER run_ends_no_UPDATE BEFORE UPDATE ON run_ends BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER run_ends_no_DELETE BEFORE DELETE ON run_ends BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE INDEX plan_uses_by_run ON plan_uses (run_id);
CREATE TRIGGER plan_uses_no_UPDATE BEFORE UPDATE ON plan_uses BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER plan_uses_no_DELETE BEFORE DELETE ON plan_uses BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE INDEX intents_by_request_id ON intents (request_id);
CREATE INDEX intents_by_plan ON intents ("plan", sequence);
CREATE TRIGGER intents_no_UPDATE BEFORE UPDATE ON intents BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER intents_no_DELETE BEFORE DELETE ON intents BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE INDEX attempts_by_run ON attempts (run_id, sequence);
CREATE TRIGGER attempts_no_UPDATE BEFORE UPDATE ON attempts BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER attempts_no_DELETE BEFORE DELETE ON attempts BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE INDEX outcomes_by_run ON outcomes (run_id, intent, sequence);
CREATE INDEX outcomes_by_intent ON outcomes (intent);
CREATE TRIGGER outcomes_no_UPDATE BEFORE UPDATE ON outcomes BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER outcomes_no_DELETE BEFORE DELETE ON outcomes BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE INDEX verifications_by_run ON verifications (run_id, intent, sequence);
CREATE INDEX verifications_by_intent ON verifications (intent);
CREATE TRIGGER verifications_no_UPDATE BEFORE UPDATE ON verifications BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER verifications_no_DELETE BEFORE DELETE ON verifications BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
COMMIT;
