//! Texts that mean something to SQL; and how it is seen, in a database, that they meant nothing to it.

use crate::postgres::Postgres;
use std::collections::BTreeSet;

/// A word that is in every one of these texts and in no statement of the server's.
pub const MARK: &str = "sqlwort";
/// How long a text asks the database to sleep, in seconds.
pub const SLEEP: u64 = 20;

/// How the database is set up for it: it logs the text of each statement, and nothing that is bound to one. Whatever of these texts is in
/// its log was made part of a statement, quoted well or not.
pub const SETTINGS: &str =
    "log_statement = 'all'\nlog_parameter_max_length = 0\nlog_parameter_max_length_on_error = 0\n";

/// The texts. None has a line end; the last has octets that are no text to PostgreSQL.
pub fn texts() -> Vec<String> {
    let mut texts: Vec<String> = [
        "'; DROP TABLE messages; --@",
        "\"; DROP TABLE recipients; --@",
        "@' OR '1'='1' /*",
        "@ OR 1=1",
        "') UNION SELECT encode(secret, 'hex') FROM directory --@",
        "1); SELECT pg_sleep(20); --@",
        "@'||(SELECT pg_sleep(20))||'",
        "@' AND 1=(SELECT 1 FROM pg_sleep(20)) AND '1'='1",
        "$1; SELECT pg_sleep(20) --@",
        "'; COPY (SELECT 1) TO PROGRAM 'touch /tmp/@'; --",
        "$$; TRUNCATE audit; $$@",
        "\\'; DELETE FROM messages; --@",
        "E'\\x27; DELETE FROM api_tokens; --@",
        "%@%",
        "@_%\\",
        "{\"@\": [1,2]}",
        "{@,NULL}",
        "';DROP/**/TABLE/**/lanes;--@",
        "@\u{2019}\u{201d}\u{ff07}; DROP TABLE servers; --",
        "@:name ? ?::text $2 ${1}",
    ]
    .iter()
    .map(|text| text.replace('@', MARK))
    .collect();
    texts.push(format!("{MARK}{}", "'".repeat(8_000)));
    texts.push(format!("{MARK}\0'; DROP TABLE figures; --"));
    texts
}

/// Octets as they stand in a URL or a form.
pub fn encoded(octets: &[u8]) -> String {
    let one = |octet: &u8| match octet {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'_' | b'-' => char::from(*octet).to_string(),
        octet => format!("%{octet:02X}"),
    };
    octets.iter().map(one).collect()
}

/// Everything in a database that makes it what it is: tables, columns, indices, constraints, triggers, functions, roles, databases.
const DEFINITIONS: &str = "SELECT 'column ' || concat_ws(' ', a.attrelid::regclass, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
            a.attstorage, a.attisdropped, pg_get_expr(d.adbin, d.adrelid)) AS one
     FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid LEFT JOIN pg_attrdef AS d ON (d.adrelid, d.adnum) = (a.attrelid, a.attnum)
     WHERE c.relnamespace = 'public'::regnamespace
     UNION ALL SELECT 'class ' || concat_ws(' ', relname, relkind, relowner::regrole, relpersistence, relacl::text, array_to_string(reloptions, ','))
     FROM pg_class WHERE relnamespace = 'public'::regnamespace
     UNION ALL SELECT 'index ' || indexdef FROM pg_indexes WHERE schemaname = 'public'
     UNION ALL SELECT 'constraint ' || concat_ws(' ', conrelid::regclass, conname, pg_get_constraintdef(oid))
     FROM pg_constraint WHERE connamespace = 'public'::regnamespace
     UNION ALL SELECT 'trigger ' || pg_get_triggerdef(oid) || tgenabled::text FROM pg_trigger WHERE NOT tgisinternal
     UNION ALL SELECT 'function ' || pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = 'public'::regnamespace
     UNION ALL SELECT 'schema ' || nspname FROM pg_namespace WHERE nspname !~ '^pg_(toast_)?temp_'
     UNION ALL SELECT 'role ' || concat_ws(' ', rolname, rolsuper, rolcanlogin, rolpassword) FROM pg_authid
     UNION ALL SELECT 'database ' || datname FROM pg_database
     ORDER BY one";

/// Rows that nobody has a reason to change: of what was made before, and has this word in its name, and what there is once.
const ROWS: &str = "SELECT 'version ' || v::text AS one FROM schema_version AS v
     UNION ALL SELECT 'secret ' || encode(secret, 'hex') FROM directory
     UNION ALL SELECT 'message ' || m::text FROM messages AS m WHERE sender LIKE '%keep%'
     UNION ALL SELECT 'recipient ' || r::text FROM recipients AS r WHERE address LIKE '%keep%'
     UNION ALL SELECT 'record ' || r::text FROM directory_records AS r WHERE name LIKE '%keep%'
     UNION ALL SELECT 'token ' || t::text FROM api_tokens AS t WHERE name LIKE '%keep%'
     UNION ALL SELECT 'suspension ' || s::text FROM suspensions AS s WHERE name LIKE '%keep%'
     UNION ALL SELECT 'history ' || concat_ws(' ', id, sender, account, message_id) FROM history WHERE sender LIKE '%keep%'
     UNION ALL SELECT 'audit ' || a::text FROM audit AS a WHERE target LIKE '%keep%'
     UNION ALL SELECT 'server ' || concat_ws(' ', id, name, version, started, draining) FROM servers
     UNION ALL SELECT DISTINCT 'lane ' || server FROM lanes
     UNION ALL SELECT 'signal ' || name FROM signals WHERE name <> 'silence'
     ORDER BY one";

/// A database as it was before.
pub struct Witness {
    definitions: String,
    rows: String,
    /// Octets of its log.
    log: usize,
}

impl Witness {
    /// As it is now.
    pub fn of(database: &Postgres) -> Witness {
        Witness {
            definitions: database.sql(DEFINITIONS),
            rows: database.sql(ROWS),
            log: database.log().len(),
        }
    }

    /// What is kept is as it was, whatever was written besides has one of these texts in it, literally, and no statement had any.
    pub fn assert_unharmed(&self, database: &Postgres) {
        assert_same("rows", &self.rows, &database.sql(ROWS));
        for table in ["directory_records", "api_tokens", "suspensions"] {
            let others = format!(
                "SELECT name FROM {table} WHERE name NOT LIKE '%keep%' AND strpos(name, 'sql' || 'wort') = 0"
            );
            assert_eq!(database.sql(&others), "", "in {table}");
        }
        let log = database.log();
        let statements = log
            .lines()
            .filter(|line| line.contains(MARK) || line.contains("pg_sleep"));
        let statements: Vec<_> = statements.take(5).collect();
        assert!(
            statements.is_empty(),
            "what was given is in statements: {statements:#?}"
        );
        assert!(log.contains("INSERT INTO messages"), "the log has statements");
        self.assert_sound(database);
        let taken = std::path::Path::new("/tmp").join(MARK);
        assert!(!taken.exists(), "the database ran a program");
    }

    /// It is made as it was, and had no error to tell of.
    pub fn assert_sound(&self, database: &Postgres) {
        assert_same("definitions", &self.definitions, &database.sql(DEFINITIONS));
        let log = database.log();
        let is_error = |line: &&str| {
            ["ERROR:", "FATAL:", "PANIC:"]
                .iter()
                .any(|word| line.contains(word))
        };
        let errors: Vec<_> = log[self.log..].lines().filter(is_error).take(5).collect();
        assert!(errors.is_empty(), "{errors:#?}");
    }
}

fn assert_same(what: &str, before: &str, now: &str) {
    let [was, is] = [before, now].map(|text| text.lines().collect::<BTreeSet<_>>());
    let changed: Vec<_> = was.symmetric_difference(&is).collect();
    assert!(changed.is_empty(), "{what} that changed: {changed:#?}");
}
