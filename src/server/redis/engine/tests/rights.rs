//! The generated line, typed into redis-cli as an operator would: it is taken whole, and gives the rights to the prefixes and to nothing else.

use super::*;
use crate::server::redis::acl_line;
use std::io::Write as _;

#[test]
fn the_generated_line_is_taken_by_redis_whatever_bytes_the_prefixes_contain() {
    let redis = OwnRedis::start();
    let segments: [&[u8]; 7] = [b"user", b"two words", b"quo\"ted", b"it's", b"\xff\x01", b"st*r?[x]", b"back\\slash"];
    let version = identify(&redis.endpoint()).unwrap().version;
    let line = acl_line(&version, "sw_flush", &segments.map(<[u8]>::to_vec), b':', &["gen:user"]).replace("SECRET", "pw");
    assert!(line.contains(" ~user:* ~two?words:* "), "{line}");
    let mut cli = Command::new("redis-cli")
        .arg("-s")
        .arg(redis.folder.path().join("s"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    cli.stdin.take().unwrap().write_all(line.as_bytes()).unwrap();
    let said = cli.wait_with_output().unwrap().stdout;
    assert_eq!(String::from_utf8_lossy(&said).trim(), "OK", "{line}");

    let endpoint = redis.endpoint().as_user("sw_flush", "pw");
    assert!(!identify(&endpoint).unwrap().over_privileged);
    let mut flusher = endpoint.resolve().unwrap().masters.remove(0).link;
    for segment in segments {
        let key = [segment, b":1"].concat();
        assert!(matches!(flusher.ask(cmd("UNLINK").arg(&key)), Ok(Value::Int(0))), "{}", escape(&key));
    }
    for key in [b"users:1".as_slice(), b"star?[x]:1", b"stx:1", b"session:1", b"gen:user"] {
        assert!(matches!(flusher.ask(cmd("UNLINK").arg(key)), Err(Fault::Refused(code)) if code == "NOPERM"), "{}", escape(key));
    }
    assert!(matches!(flusher.ask(cmd("INCR").arg("gen:user")), Ok(Value::Int(1))));
}
