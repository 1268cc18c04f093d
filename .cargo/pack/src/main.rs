//! Turns the islands' wasm, the style sheet and the public files into `SITE/`: wasm-bindgen (the version in `Cargo.lock`), wasm-opt where it is
//! given, one content hash in the names, and a `.br` and a `.gz` beside each file.
//!
//! `pack --wasm FILE --style FILE --public DIR --out SITE [--wasm-opt PROGRAM] [--budget-kib N]`
//!
//! Prints the compressed size of wasm and script; exit 1 when it is over the budget.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use sha2::{Digest, Sha256};

type Failure = Box<dyn std::error::Error>;

/// Features that Chromium, Firefox and Safari have and that rustc's target uses; `--all-features` writes modules that browsers refuse.
const WASM_FEATURES: [&str; 6] =
    ["bulk-memory", "reference-types", "sign-ext", "nontrapping-float-to-int", "mutable-globals", "multivalue"];

fn main() -> ExitCode {
    match pack() {
        Ok(within_budget) if within_budget => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(failure) => {
            eprintln!("pack: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn pack() -> Result<bool, Failure> {
    let mut options = BTreeMap::new();
    let mut words = std::env::args().skip(1);
    while let Some(name) = words.next() {
        let value = words.next().ok_or_else(|| format!("{name} wants a value"))?;
        options.insert(name, value);
    }
    let option = |name: &str| options.get(name).cloned().ok_or_else(|| format!("{name} is missing"));
    let (wasm, style, public) = (option("--wasm")?, option("--style")?, option("--public")?);
    let site = PathBuf::from(option("--out")?);

    let (script, module) = bind(Path::new(&wasm))?;
    let module = match options.get("--wasm-opt").filter(|program| !program.is_empty()) {
        Some(program) => optimise(program, &module, &site)?,
        None => module,
    };
    let style = std::fs::read(style)?;

    let hash = Sha256::new().chain_update(&script).chain_update(&module).chain_update(&style).finalize();
    let hash: String = hash.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    let name = format!("stalewatch-{hash}");
    // The script names its module itself only as a default that the page's script always overrides.
    let _ = std::fs::remove_dir_all(&site);
    let pkg = site.join("pkg");
    let mut weight = 0;
    weight += put(&pkg.join(format!("{name}.js")), script.as_bytes())?;
    weight += put(&pkg.join(format!("{name}_bg.wasm")), &module)?;
    let style_weight = put(&pkg.join(format!("{name}.css")), &style)?;
    copy(Path::new(&public), &site)?;

    let kib = |bytes: usize| f64::from(u32::try_from(bytes).unwrap_or(u32::MAX)) / 1024.0;
    println!("web.wasm_kib {:.1}", kib(weight));
    println!("web.style_kib {:.1}", kib(style_weight));
    let budget: f64 = options.get("--budget-kib").map_or(Ok(100.0), |text| text.parse())?;
    if kib(weight) > budget {
        eprintln!("pack: wasm and script are {:.1} KiB compressed, over the budget of {budget} KiB", kib(weight));
        return Ok(false);
    }
    Ok(true)
}

/// Runs wasm-bindgen; gives the script and the module.
fn bind(wasm: &Path) -> Result<(String, Vec<u8>), Failure> {
    let mut output = wasm_bindgen_cli_support::Bindgen::new()
        .input_path(wasm)
        .out_name("stalewatch")
        .web(true)?
        .typescript(false)
        .omit_default_module_path(true)
        .remove_name_section(true)
        .remove_producers_section(true)
        .generate_output()?;
    let script = output.js().to_owned();
    Ok((script, output.wasm_mut().emit_wasm()))
}

fn optimise(program: &str, module: &[u8], site: &Path) -> Result<Vec<u8>, Failure> {
    let folder = site.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let (before, after) = (folder.join("pack-in.wasm"), folder.join("pack-out.wasm"));
    std::fs::write(&before, module)?;
    let status = Command::new(program)
        .args(["-Oz", "--strip-debug", "--strip-producers"])
        .args(WASM_FEATURES.map(|feature| format!("--enable-{feature}")))
        .arg(&before)
        .arg("-o")
        .arg(&after)
        .status()?;
    if !status.success() {
        return Err(format!("{program} ended with {status}").into());
    }
    let module = std::fs::read(&after)?;
    std::fs::remove_file(before)?;
    std::fs::remove_file(after)?;
    Ok(module)
}

/// Writes a file with its `.br` and `.gz`; gives the size of the smaller.
fn put(path: &Path, bytes: &[u8]) -> Result<usize, Failure> {
    std::fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
    std::fs::write(path, bytes)?;
    let beside = |ending: &str| PathBuf::from(format!("{}.{ending}", path.display()));

    let mut br = Vec::new();
    let quality = brotli::enc::BrotliEncoderParams { quality: 11, lgwin: 22, ..Default::default() };
    brotli::BrotliCompress(&mut &bytes[..], &mut br, &quality)?;
    std::fs::write(beside("br"), &br)?;

    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gz.write_all(bytes)?;
    let gz = gz.finish()?;
    std::fs::write(beside("gz"), &gz)?;
    Ok(br.len().min(gz.len()))
}

fn copy(from: &Path, to: &Path) -> Result<(), Failure> {
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &to.join(entry.file_name()))?;
        } else {
            put(&to.join(entry.file_name()), &std::fs::read(entry.path())?)?;
        }
    }
    Ok(())
}
