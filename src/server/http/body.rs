//! Bodies of the doors for events: read within their limits, and decompressed. A body that would come out too large is refused before or while it
//! is inflated, never after.

use crate::error::Error;
use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt as _;
use std::io::Read;
use std::time::Duration;

/// Largest body, before and after decompression.
pub const BODY_MAX: usize = 2 * 1024 * 1024;
/// What of a body that is too large is read nevertheless, so that its sender comes to read the answer.
const DRAIN_MAX: usize = 16 * 1024 * 1024;
/// How long a body may take to arrive.
const PATIENCE: Duration = Duration::from_secs(20);
/// Largest window of a zstd frame, as a power of two: 8 MiB, which is all that a sender may count on (RFC 9659).
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    Gzip,
    Zstd,
}

/// Reads a request's body and undoes its `Content-Encoding`.
///
/// Errors: 400 where it breaks off or is not what its encoding says, 408 where it comes too slowly, 413 over [`BODY_MAX`], 415 for encodings
/// other than gzip and zstd.
pub async fn read(headers: &HeaderMap, body: Body) -> Result<Vec<u8>, Error> {
    let coding = coding(headers)?;
    let body = tokio::time::timeout(PATIENCE, collect(body)).await.map_err(|_| {
        Error::new(StatusCode::REQUEST_TIMEOUT, "too_slow", "The body took too long to arrive. Nothing was taken; send it again.")
    })??;
    match coding {
        None => Ok(body),
        Some(Coding::Gzip) => inflate(flate2::read::MultiGzDecoder::new(&*body), body.len(), "gzip"),
        Some(Coding::Zstd) => unzstd(&body),
    }
}

fn coding(headers: &HeaderMap) -> Result<Option<Coding>, Error> {
    let mut found = None;
    for value in headers.get_all(header::CONTENT_ENCODING) {
        for coding in value.to_str().unwrap_or("?").split(',').map(|coding| coding.trim().to_ascii_lowercase()) {
            match coding.as_str() {
                "" | "identity" => {}
                "gzip" | "x-gzip" if found.is_none() => found = Some(Coding::Gzip),
                "zstd" if found.is_none() => found = Some(Coding::Zstd),
                _ => {
                    return Err(Error::new(
                        StatusCode::UNSUPPORTED_MEDIA_TYPE,
                        "content_encoding",
                        "Send the body as it is, or compressed once (`Content-Encoding: gzip` or `zstd`).",
                    ));
                }
            }
        }
    }
    Ok(found)
}

fn too_large() -> Error {
    Error::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "too_large",
        "A body has at most 2 MiB, decompressed too. Nothing was taken; send it in parts.",
    )
}

async fn collect(mut body: Body) -> Result<Vec<u8>, Error> {
    let mut collected = Vec::new();
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        let frame =
            frame.map_err(|_| Error::new(StatusCode::BAD_REQUEST, "cut_short", "The body broke off. Nothing was taken; send it again."))?;
        let Some(data) = frame.data_ref() else { continue };
        length += data.len();
        if length <= BODY_MAX {
            collected.extend_from_slice(data);
        } else if length > DRAIN_MAX {
            break;
        }
    }
    if length > BODY_MAX { Err(too_large()) } else { Ok(collected) }
}

fn unzstd(body: &[u8]) -> Result<Vec<u8>, Error> {
    // A frame mostly says how large it comes out: then nothing of one that is too large is inflated.
    if let Ok(Some(declared)) = zstd::zstd_safe::get_frame_content_size(body)
        && declared > BODY_MAX as u64
    {
        return Err(too_large());
    }
    let decoder = zstd::stream::read::Decoder::with_buffer(body).and_then(|mut decoder| {
        decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
        Ok(decoder)
    });
    inflate(decoder.map_err(|_| not_encoded("zstd"))?, body.len(), "zstd with a window of at most 8 MiB")
}

fn inflate(decoder: impl Read, length: usize, coding: &str) -> Result<Vec<u8>, Error> {
    let mut plain = Vec::with_capacity((length * 4).min(BODY_MAX));
    decoder.take(BODY_MAX as u64 + 1).read_to_end(&mut plain).map_err(|_| not_encoded(coding))?;
    if plain.len() > BODY_MAX { Err(too_large()) } else { Ok(plain) }
}

fn not_encoded(coding: &str) -> Error {
    Error::new(StatusCode::BAD_REQUEST, "malformed", format!("The body says it is {coding} and is not. Nothing was taken."))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn of(encoding: &'static str, body: Vec<u8>) -> Result<Vec<u8>, StatusCode> {
        let headers = HeaderMap::from_iter([(header::CONTENT_ENCODING, header::HeaderValue::from_static(encoding))]);
        read(&headers, Body::from(body)).await.map_err(|error| error.status)
    }

    /// A frame that does not say how large it comes out, with a window of two to this power.
    fn streamed(plain: &[u8], window_log: u32) -> Vec<u8> {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap();
        encoder.include_contentsize(false).unwrap();
        encoder.window_log(window_log).unwrap();
        std::io::Write::write_all(&mut encoder, plain).unwrap();
        encoder.finish().unwrap()
    }

    #[tokio::test]
    async fn zstd_is_undone_and_what_is_none_is_refused() {
        let plain = b"{\"events\":[]}".repeat(100);
        assert_eq!(of("zstd", zstd::encode_all(&*plain, 3).unwrap()).await, Ok(plain.clone()));
        assert_eq!(of("ZSTD", streamed(&plain, 23)).await, Ok(plain.clone()));
        let two_frames = [streamed(&plain, 20), streamed(&plain, 20)].concat();
        assert_eq!(of("zstd", two_frames).await, Ok(plain.repeat(2)));
        assert_eq!(of("zstd", plain.clone()).await, Err(StatusCode::BAD_REQUEST));
        let whole = streamed(&plain, 20);
        assert_eq!(of("zstd", whole[..whole.len() - 3].to_vec()).await, Err(StatusCode::BAD_REQUEST));
        assert_eq!(of("zstd, gzip", whole).await, Err(StatusCode::UNSUPPORTED_MEDIA_TYPE));
        assert_eq!(of("zstd", streamed(&plain, 27)).await, Err(StatusCode::BAD_REQUEST), "its window is larger than anybody may count on");
    }

    #[tokio::test]
    async fn a_small_body_that_comes_out_too_large_is_refused_whether_it_says_so_or_not() {
        let large = vec![b' '; BODY_MAX + 1];
        assert_eq!(of("zstd", zstd::bulk::compress(&vec![b' '; 256 * 1024 * 1024], 1).unwrap()).await, Err(StatusCode::PAYLOAD_TOO_LARGE));
        assert_eq!(of("zstd", streamed(&large, 20)).await, Err(StatusCode::PAYLOAD_TOO_LARGE));
        assert_eq!(of("zstd", streamed(&large[1..], 20)).await, Ok(large[1..].to_vec()));
        let halves = [streamed(&large[..=(BODY_MAX / 2)], 20), streamed(&large[..=(BODY_MAX / 2)], 20)].concat();
        assert_eq!(of("zstd", halves).await, Err(StatusCode::PAYLOAD_TOO_LARGE));
    }
}
