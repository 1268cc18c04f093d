//! The configuration, from its text to its problems.

use std::path::Path;

use super::*;
use crate::domain::flush::BrakeLimits;
use crate::domain::metric::Bucket;
use crate::domain::policy::Tier;

const FILE: &str = "stalewatch.toml";

fn read(text: &str) -> Result<Config, Problems> {
    Config::read(text, FILE, Path::new("."), &Environment::default(), TargetUrls::Required)
}

/// The problems of a text, as they are printed.
fn problems(text: &str) -> Vec<String> {
    read(text).map(|_| ()).unwrap_err().0.iter().map(ToString::to_string).collect()
}

const TARGET: &str = "[[target]]\nname = \"main\"\nurl = \"redis://127.0.0.1/0\"\n";

#[test]
fn nothing_at_all_is_a_configuration() {
    let config = read("").unwrap();
    assert_eq!((config.listen.as_str(), config.targets.len(), config.metrics_public), ("127.0.0.1:3000", 0, false));
    assert_eq!(config.digest, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

#[test]
fn the_example_is_valid_and_names_every_key() {
    let example = include_str!("../../../stalewatch.example.toml");
    let config = read(example).unwrap();
    let target = config.target("main").unwrap();
    assert!(target.flush.is_none(), "a copied example must be valid before its secrets are there");
    // The one line that is a comment is valid too.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("stalewatch.toml");
    std::fs::write(&path, example.replace("# flush = {", "flush = {")).unwrap();
    std::fs::write(folder.path().join("sw_flush.secret"), "hunter2\n").unwrap();
    let with_identity = Config::load(Some(&path), &Environment::default()).unwrap();
    assert_eq!(with_identity.targets[0].flush.as_ref().unwrap().password.expose(), "hunter2");
    assert_eq!(target.protected, [b"session:".to_vec()]);
    let profile = config.prefix("main", "user:{id}:profile").unwrap();
    assert_eq!((profile.tier, profile.fresh_within()), (Tier::Critical, Bucket::B60));
    assert_eq!(profile.thresholds.rebuild_p95_us, Some(400_000));
    let summary = config.prefix("main", "user:{id}:summary").unwrap();
    assert_eq!(summary.thresholds.stale_read_rate, Some(0.01), "1 − ratio");
    assert_eq!(config.contracts[0].affects.len(), 2);
    assert_eq!(config.retention, Retention::default(), "the example shows the defaults");
    assert_eq!(config.rate, Rate::default(), "the example shows the defaults");
    assert_eq!(config.warnings, [] as [String; 0]);
    assert_eq!(profile.generation_key.as_deref(), Some("gen:user-profile"));
    assert!(config.declared_at(profile.line).starts_with("stalewatch.toml:"));
    // What the reader knows and the example does not show: the other form of a secret only.
    let known =
        ["url_file", "password_file", "target", "delimiter", "five_minutes", "store_keys", "timezone", "trusted_proxies", "public_url"];
    assert!(known.iter().all(|key| example.contains(key)));
}

#[test]
fn everything_that_is_wrong_is_said_at_once_with_its_line() {
    let text = r#"listen = "3000"
publc_url = "https://watch.example.com"
broken = = 1
metrics_public = "yes"

[[target]]
name = "main"
url = "rediss-sentinel://127.0.0.1"
max_key = 5

[[prefix]]
name = "user:{id}"
target = "mian"

[[prefix]]
name = "user:{id}:profile"
tier = "crticial"
objective = { fresh_within = "30s", ratio = 1.0 }

[[prefix]]
name = "user:{who}:profile"

[[contract]]
write = "PUT /users/{id}"
within = "2 seconds"
affects = [{ key = "user:{id}:profil", how = "evcit" }]
"#;
    let found = problems(text);
    let expected = [
        "stalewatch.toml:1: `listen` is ADDRESS:PORT such as 127.0.0.1:3000, not `3000`",
        "stalewatch.toml:2: the configuration has no key `publc_url`; the nearest known one is `public_url`",
        "stalewatch.toml:3: not TOML: ",
        "stalewatch.toml:4: `metrics_public` of the configuration is true or false, not \"yes\"",
        "stalewatch.toml:8: for Sentinel use `sentinel = {",
        "stalewatch.toml:9: a target has no key `max_key`; the nearest known one is `max_keys`",
        "stalewatch.toml:13: there is no target `mian`; the nearest known one is `main`",
        "stalewatch.toml:17: `tier` of a prefix cannot be `crticial`; the nearest known one is `critical`",
        "stalewatch.toml:18: `ratio` of `objective` of a prefix is a share between 0 and 1, such as 0.999, not 1.0",
        "stalewatch.toml:18: `fresh_within` is one of",
        "stalewatch.toml:21: `user:{who}:profile` overlaps with `user:{id}:profile` on line 16: some keys would match both",
        "stalewatch.toml:25: `within` of a contract is a duration",
        "stalewatch.toml:26: `how` of an entry of `affects` cannot be `evcit`; the nearest known one is `evict`",
        "stalewatch.toml:26: there is no prefix `user:{id}:profil`; the nearest known one is `user:{id}:profile`",
    ];
    for expected in expected {
        assert!(found.iter().any(|found| found.starts_with(expected)), "no {expected:?} in {found:#?}");
    }
    let places: Vec<usize> = found.iter().map(|found| found.split(':').nth(1).unwrap().parse().unwrap()).collect();
    assert!(places.is_sorted(), "{found:#?}");
}

#[test]
fn keyspace_events_are_listened_to_where_the_target_says_so() {
    let config = read(&format!("{TARGET}notifications = true\napprovals = \"wide\"\n")).unwrap();
    assert_eq!((config.targets[0].approvals, config.targets[0].notifications), (Approvals::Wide, true));
    assert_eq!(config.warnings, [] as [String; 0]);
    assert!(!read(TARGET).unwrap().targets[0].notifications);
}

#[test]
fn a_generation_stands_apart_from_what_is_flushed_and_protected() {
    let problems = |key: &str| {
        let text = format!("{TARGET}protected = [\"session:\"]\n[[prefix]]\nname = \"user:{{id}}:profile\"\ngeneration_key = {key}\n");
        read(&text).map(|config| config.prefixes[0].generation_key.clone()).map_err(|problems| problems.to_string())
    };
    assert_eq!(problems("\"gen:user-profile\""), Ok(Some("gen:user-profile".to_owned())));
    for (key, said) in [
        ("\"user:7:profile\"", "could be flushed"),
        ("\"session:gen\"", "protected"),
        ("\"\"", "1 to 1,024"),
        ("\"gen user\"", "1 to 1,024"),
    ] {
        assert!(problems(key).unwrap_err().contains(said), "{key}");
    }
}

#[test]
fn a_brake_has_limits_of_its_own() {
    let brake =
        |text: &str| read(&format!("{TARGET}{text}\n")).map(|config| config.targets[0].brake).map_err(|problems| problems.to_string());
    assert_eq!(brake(""), Ok(BrakeLimits::default()));
    let own = brake("brake = { bystander = \"2ms\", stop_after = \"10s\", rebuild_failures = 0.2 }").unwrap();
    assert_eq!((own.bystander.as_millis(), own.stop_after.as_secs(), own.rebuild_failures), (2, 10, 0.2));
    for (wrong, said) in [("bystander = \"2s\"", "from"), ("stop_after = \"0s\"", "from"), ("speed = 1", "speed")] {
        assert!(brake(&format!("brake = {{ {wrong} }}")).unwrap_err().contains(said), "{wrong}");
    }
}

#[test]
fn a_second_person_is_asked_unless_the_file_says_otherwise() {
    let of = |line: &str| {
        let config = read(&format!("{TARGET}{line}\n")).unwrap();
        (config.targets[0].approvals, config.targets[0].break_glass, config.warnings.len())
    };
    assert_eq!(of(""), (Approvals::Wide, false, 0));
    assert_eq!(of("break_glass = true"), (Approvals::Wide, true, 0));
    assert_eq!(of("approvals = \"never\""), (Approvals::Never, false, 0));
    assert_eq!(of("approvals = \"never\"\nbreak_glass = true"), (Approvals::Never, true, 1), "there is no glass to break");
}

#[test]
fn a_target_is_one_server_behind_sentinel_or_a_cluster() {
    let text = "[[target]]\nname = \"a\"\nsentinel = { master = \"m\", nodes = [\"n:1\", \"redis://s:pw@n2:2\"], db = 3 }\nuser = \"r\"\npassword = \"pw\"\n\
                [[target]]\nname = \"b\"\ncluster = [\"n:1\"]\n[[target]]\nname = \"c\"\nurl = \"rediss://n:1\"\n\
                [[target]]\nname = \"d\"\nurl = \"redis+unix:///run/redis.sock?db=1\"\n";
    let config = read(text).unwrap();
    assert!(matches!(&config.targets[0].location, Some(Location::Sentinel { master, nodes, db: 3 }) if master == "m" && nodes.len() == 2));
    assert_eq!(config.targets[0].login.as_ref().unwrap().user, "r");
    let kinds: Vec<_> = config.targets.iter().map(|target| target.location.as_ref().unwrap().kind()).collect();
    assert_eq!(kinds, ["sentinel", "cluster", "standalone", "standalone"]);
    for (wrong, said) in [
        ("url = \"redis://n:1\"\ncluster = [\"n:1\"]", "a target is at one place: keep `url` or `cluster`"),
        ("cluster = []", "`cluster` names no node"),
        ("cluster = [\"n:x\"]", "a node is HOST:PORT"),
        ("sentinel = { nodes = [\"n:1\"] }", "`sentinel` of a target has no `master`"),
        ("cluster = [\"n:1\"]\nuser = \"r\"", "a target has no `password_file`"),
        ("url = \"rediss://n:1\"\ntls = { cert_file = \"nowhere.pem\" }", "`tls` takes `cert_file` and `key_file` together"),
    ] {
        let found = problems(&format!("[[target]]\nname = \"a\"\n{wrong}\n"));
        assert!(found.iter().any(|found| found.contains(said)), "no {said:?} in {found:#?}");
    }
}

#[test]
fn a_target_without_url_is_only_the_demos() {
    let text = "[[target]]\nname = \"main\"\n";
    assert!(
        problems(text)[0].starts_with("stalewatch.toml:2: a target has no `url`")
            || problems(text)[0].starts_with("stalewatch.toml:1: a target has no `url`")
    );
    let demo = Config::read(text, FILE, Path::new("."), &Environment::default(), TargetUrls::Optional).unwrap();
    assert!(demo.targets[0].location.is_none());
}

#[test]
fn the_environment_overrides_the_top_scalars() {
    let environment = Environment::from_iter([
        ("STALEWATCH_LISTEN", "127.0.0.1:4000"),
        ("STALEWATCH_PUBLIC_URL", "https://watch.example.com/"),
        ("STALEWATCH_METRICS_PUBLIC", "true"),
        ("STALEWATCH_REQUIRE_SECOND_FACTOR", "1"),
        ("STALEWATCH_MAX_FLUSHES_PER_HOUR", "3"),
        ("STALEWATCH_DATA_DIR", "/srv/watch"),
    ]);
    let text = format!("listen = \"nonsense\"\n{TARGET}");
    let config = Config::read(&text, FILE, Path::new("."), &environment, TargetUrls::Required).unwrap();
    assert_eq!((config.listen.as_str(), config.public_url.as_deref()), ("127.0.0.1:4000", Some("https://watch.example.com")));
    assert!(config.metrics_public && config.require_second_factor && config.data_dir == Path::new("/srv/watch"));
    assert_eq!(config.targets[0].max_flushes_per_hour, 3);
    let wrong = Environment::from_iter([("STALEWATCH_LISTEN", "4000")]);
    let error = Config::read("", FILE, Path::new("."), &wrong, TargetUrls::Required).unwrap_err();
    assert!(error.to_string().starts_with("environment:STALEWATCH_LISTEN: "), "{error}");
}

#[test]
fn the_key_of_secrets_is_read_from_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let key = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n";
    std::fs::write(folder.path().join("good.key"), key).unwrap();
    std::fs::write(folder.path().join("short.key"), "AAEC\n").unwrap();
    let read = |text: &str, variable: &str| {
        let path = folder.path().join(variable).display().to_string();
        let environment = Environment::from_iter((!variable.is_empty()).then_some(("STALEWATCH_SECRET_KEY_FILE", path)));
        Config::read(text, FILE, folder.path(), &environment, TargetUrls::Required)
    };
    let exposed = |config: Config| config.secret_key.map(|key| key.expose().to_owned());
    assert_eq!(exposed(read("", "").unwrap()), None);
    assert_eq!(exposed(read("secret_key_file = \"good.key\"", "").unwrap()).as_deref(), Some(key));
    assert_eq!(exposed(read("secret_key_file = \"short.key\"", "good.key").unwrap()).as_deref(), Some(key), "the environment wins");
    for (text, variable, said) in [
        (
            "secret_key_file = \"short.key\"",
            "",
            "stalewatch.toml:1: the file that `secret_key_file` names does not hold 32 bytes in base64",
        ),
        ("\nsecret_key_file = \"none.key\"", "", "stalewatch.toml:2: `secret_key_file` cannot be read"),
        ("", "short.key", "environment:STALEWATCH_SECRET_KEY_FILE: "),
        ("", "none.key", "environment:STALEWATCH_SECRET_KEY_FILE: cannot be read"),
    ] {
        let error = read(text, variable).unwrap_err().to_string();
        assert!(error.starts_with(said) && !error.contains("AAEC"), "{error}");
    }
}

#[test]
fn people_far_away_come_by_https_only() {
    for (url, valid) in [
        ("https://watch.example.com", true),
        ("http://127.0.0.1:3000", true),
        ("http://localhost:3000", true),
        ("http://[::1]:3000", true),
        ("http://watch.example.com", false),
        ("http://10.0.0.7:3000", false),
        ("https://watch.example.com/path", false),
        ("ftp://watch.example.com", false),
        ("watch.example.com", false),
    ] {
        assert_eq!(read(&format!("public_url = \"{url}\"")).is_ok(), valid, "{url}");
    }
}

#[test]
fn secrets_come_from_files_and_are_never_printed() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("url"), "redis://:s3cret@127.0.0.1:6380/2\n").unwrap();
    let text = "[[target]]\nname = \"main\"\nurl_file = \"url\"\n";
    let config = Config::read(text, FILE, folder.path(), &Environment::default(), TargetUrls::Required).unwrap();
    assert_eq!(
        {
            let Some(Location::Url(url)) = &config.targets[0].location else { panic!("a url") };
            url.expose()
        },
        "redis://:s3cret@127.0.0.1:6380/2"
    );
    assert!(!format!("{config:?}").contains("s3cret"));
    assert!(problems("[[target]]\nname = \"main\"\nurl = \"http://:s3cret@h\"\n").iter().all(|problem| !problem.contains("s3cret")));
    let missing = problems("[[target]]\nname = \"main\"\nurl_file = \"nowhere\"\n");
    assert!(missing.len() == 1 && missing[0].starts_with("stalewatch.toml:3: `url_file` cannot be read: "), "{missing:#?}");
    let both = problems("[[target]]\nname = \"main\"\nurl = \"redis://h\"\nurl_file = \"f\"\n");
    assert!(both.len() == 1 && both[0].contains("has both `url` and `url_file`"), "{both:#?}");
}

#[test]
fn the_same_key_may_be_registered_on_two_targets() {
    let two = "[[target]]\nname = \"a\"\nurl = \"redis://h\"\n[[target]]\nname = \"b\"\nurl = \"redis://h/1\"\n";
    let prefix = |target: &str| format!("[[prefix]]\nname = \"x:{{id}}\"\ntarget = \"{target}\"\n");
    let contract = "[[contract]]\nwrite = \"PUT /x/{id}\"\nwithin = \"1s\"\naffects = [{ key = \"x:{id}\", how = \"evict\" }]\n";
    assert_eq!(read(&format!("{two}{}{}", prefix("a"), prefix("b"))).unwrap().prefixes.len(), 2);
    let ambiguous = problems(&format!("{two}{}{}{contract}", prefix("a"), prefix("b")));
    assert!(ambiguous.len() == 1 && ambiguous[0].contains("registered on several targets"), "{ambiguous:#?}");
    let named = format!("{two}{}{}{contract}target = \"b\"\n", prefix("a"), prefix("b"));
    assert_eq!(read(&named).unwrap().contracts[0].target, "b");
    let nameless = problems(&format!("{two}[[prefix]]\nname = \"x:{{id}}\"\n"));
    assert!(nameless.len() == 1 && nameless[0].contains("has no `target`"), "{nameless:#?}");
}

#[test]
fn what_is_declared_twice_names_both_lines() {
    let twice = format!("{TARGET}{TARGET}");
    assert!(problems(&twice)[0].contains("is declared on line 2 already"));
    let contract = "[[contract]]\nwrite = \"PUT /x\"\nwithin = \"1s\"\naffects = [{ key = \"x:{id}\", how = \"evict\" }]\n";
    let found = problems(&format!("{TARGET}[[prefix]]\nname = \"x:{{id}}\"\n{contract}{contract}"));
    assert_eq!(found, ["stalewatch.toml:11: the contract of `PUT /x` is declared on line 7 already: one write, one contract"]);
    let reserved = problems(&format!("{TARGET}[[prefix]]\nname = \"overflow\"\n"));
    assert!(reserved[0].starts_with("stalewatch.toml:5: `overflow` is what keys of no prefix"), "{reserved:#?}");
}

#[test]
fn a_file_that_cannot_be_read_is_one_problem_at_its_line() {
    let error = Config::load(Some(Path::new("/nowhere/stalewatch.toml")), &Environment::default()).unwrap_err();
    assert!(error.to_string().starts_with("/nowhere/stalewatch.toml:1: cannot be read: "), "{error}");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.toml");
    std::fs::write(&path, b"listen = \"127.0.0.1:1\"\n# \xff\n").unwrap();
    let error = Config::load(Some(&path), &Environment::default()).unwrap_err();
    assert!(error.to_string().contains("c.toml:2: not UTF-8"), "{error}");
}

#[test]
fn a_rate_has_a_burst_that_lets_a_full_request_in() {
    let rate = |text: &str| read(&format!("[ingest]\n{text}")).unwrap().rate;
    assert_eq!(rate("rate = 2_000"), Rate { per_second: 2_000, burst: 20_000 });
    assert_eq!(rate("rate = 1"), Rate { per_second: 1, burst: 5_000 });
    assert_eq!(rate("burst = 7000"), Rate { per_second: 200_000, burst: 7_000 });
    let found = problems("[ingest]\nrate = 0\nburst = 4999\nrates = 7\n");
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(found[0].starts_with("stalewatch.toml:2: `rate` of `ingest` is a whole number from 1 to"), "{found:?}");
    assert!(found[1].starts_with("stalewatch.toml:3: `burst` of `ingest` is a whole number from 5000 to"), "{found:?}");
    assert!(found[2].contains("`rate`") || found[2].contains("rate"), "{found:?}");
}
