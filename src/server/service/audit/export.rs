//! Exports: JSON Lines, which an independent verifier reads, and CSV for spreadsheets. Pieces are made as they are read, so that a long
//! record needs no memory.

use super::AuditFilter;
use super::words::hex;
use crate::domain::audit::{Actor, Code};
use crate::server::store::audit::{self, Filter, Record};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::json;
use sqlx::PgPool;
use tokio::sync::mpsc;

/// Records per piece.
const PIECE: i64 = 1_000;
/// Pieces made ahead of the reader.
const AHEAD: usize = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Jsonl,
    Csv,
}

impl Format {
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "jsonl" => Some(Format::Jsonl),
            "csv" => Some(Format::Csv),
            _ => None,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Format::Jsonl => "jsonl",
            Format::Csv => "csv",
        }
    }
}

/// A file name for the export.
pub fn export_name(format: Format, now: DateTime<Utc>) -> String {
    format!("stalewatch-audit-{}.{}", now.format("%Y%m%dT%H%M%SZ"), format.as_str())
}

/// Records that it is exported, then gives the pieces. An error ends them early; the reader sees a broken transfer, not a short file.
pub async fn export(
    pool: &PgPool,
    actor: &Actor,
    filter: &AuditFilter,
    format: Format,
) -> Result<mpsc::Receiver<Result<Bytes, sqlx::Error>>, sqlx::Error> {
    let store_filter = filter.to_store();
    let mut tx = pool.begin().await?;
    let body = json!({
        "format": format.as_str(), "who": filter.who, "code_filter": filter.code, "target_filter": filter.target, "scope_filter": filter.scope,
        "flush_filter": filter.flush, "from": filter.from, "to": filter.to,
    });
    audit::append(&mut tx, Code::AuditExported, actor, &body).await?;
    tx.commit().await?;
    let (pieces, reader) = mpsc::channel(AHEAD);
    let pool = pool.clone();
    tokio::spawn(async move {
        if format == Format::Csv
            && pieces.send(Ok(Bytes::from_static(b"seq,at,code,actor,target,scope,record,prev,hash\r\n"))).await.is_err()
        {
            return;
        }
        let mut after = 0;
        loop {
            let piece = match read(&pool, &store_filter, after).await {
                Ok(records) if records.is_empty() => return,
                Ok(records) => {
                    after = records.last().map_or(after, |record| record.seq);
                    Ok(write(&records, format))
                }
                Err(cause) => Err(cause),
            };
            let failed = piece.is_err();
            // A reader that went away ends it.
            if pieces.send(piece).await.is_err() || failed {
                return;
            }
        }
    });
    Ok(reader)
}

async fn read(pool: &PgPool, filter: &Filter, after: i64) -> Result<Vec<Record>, sqlx::Error> {
    let mut conn = pool.acquire().await?;
    audit::list_after(&mut conn, filter, after, PIECE).await
}

/// Records as lines of JSON, as the independent verifier reads them.
pub fn as_lines(records: &[Record]) -> Bytes {
    write(records, Format::Jsonl)
}

fn write(records: &[Record], format: Format) -> Bytes {
    match format {
        Format::Jsonl => {
            let mut lines = String::new();
            for record in records {
                lines.push_str(&line(record).to_string());
                lines.push('\n');
            }
            lines.into()
        }
        Format::Csv => {
            let mut csv = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new());
            for record in records {
                let text = String::from_utf8_lossy(&record.canonical);
                let (actor, target, scope) =
                    (plain(&record.actor), record.target.as_deref().map(plain), record.scope.as_deref().map(plain));
                let fields = [
                    &record.seq.to_string(),
                    &instant(record.at),
                    &record.code,
                    &actor,
                    &target.unwrap_or_default(),
                    &scope.unwrap_or_default(),
                    text.as_ref(),
                    &hex(&record.prev),
                    &hex(&record.hash),
                ];
                if csv.write_record(fields).is_err() {
                    tracing::error!("writing to memory failed");
                }
            }
            csv.into_inner().unwrap_or_default().into()
        }
    }
}

fn instant(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Micros, true)
}

/// One record as the independent verifier reads it. `record` repeats `canonical` for people.
fn line(record: &Record) -> serde_json::Value {
    json!({
        "seq": record.seq,
        "at": instant(record.at),
        "at_us": record.at.timestamp_micros(),
        "code": record.code,
        "actor": record.actor,
        "target": record.target,
        "scope": record.scope,
        "record": serde_json::from_slice::<serde_json::Value>(&record.canonical).ok(),
        "canonical": BASE64_STANDARD.encode(&record.canonical),
        "prev": hex(&record.prev),
        "hash": hex(&record.hash),
    })
}

/// A spreadsheet takes texts that begin so for formulas.
fn plain(text: &str) -> String {
    if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{text}") } else { text.to_owned() }
}
