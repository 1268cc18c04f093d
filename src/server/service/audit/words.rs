//! A record's body as one line for people.

use serde_json::Value;
use std::fmt::Write;

/// Fields that have their own column, or say nothing to people.
const ELSEWHERE: &[&str] = &["actor", "actor_id", "actor_role", "actor_uid", "user_id", "session"];
/// What is said first, in this order.
const FIRST: &[&str] = &["flush", "flush_id", "state", "verdict", "scope", "target", "user", "reason"];
/// A value is cut here; the whole is in the exports.
const LONGEST: usize = 200;

/// `flush 12, scope user:{id}:summary, target main, removed 8118`.
pub fn sentence(body: &Value) -> String {
    let Some(fields) = body.as_object() else { return String::new() };
    let first = FIRST.iter().filter_map(|name| fields.get_key_value(*name));
    let rest = fields.iter().filter(|(name, _)| !FIRST.contains(&name.as_str()) && !ELSEWHERE.contains(&name.as_str()));
    let mut line = String::new();
    for (name, value) in first.chain(rest) {
        let value = match value {
            Value::Null => continue,
            Value::String(text) if text.is_empty() => continue,
            Value::String(text) if name == "reason" => format!("“{text}”"),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        if !line.is_empty() {
            line.push_str(", ");
        }
        let cut = value.char_indices().nth(LONGEST).map_or(value.len(), |(at, _)| at);
        let _ = write!(line, "{} {}{}", name.replace('_', " "), &value[..cut], if cut < value.len() { "…" } else { "" });
    }
    line
}

/// Where the record leads.
pub fn href(body: &Value) -> Option<String> {
    let flush = body.get("flush").or_else(|| body.get("flush_id"))?;
    match flush {
        Value::Number(id) => Some(format!("/flush/{id}")),
        Value::String(id) if !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') => {
            Some(format!("/flush/{id}"))
        }
        _ => None,
    }
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_body_reads_as_one_line() {
        let body = json!({"actor": "a@b", "actor_id": 1, "flush": 12, "scope": "user:{id}", "target": "main", "removed": 5, "reason": "old names", "x": null});
        assert_eq!(sentence(&body), "flush 12, scope user:{id}, target main, reason “old names”, removed 5");
        assert_eq!(href(&body).as_deref(), Some("/flush/12"));
    }
}
