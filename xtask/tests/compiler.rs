//! This program as the compiler of a crate.

use std::path::Path;
use std::process::Command;

/// The result of compiling a library: the error, or nothing.
fn compile(source: &str) -> Result<(), String> {
    let folder = tempfile::tempdir().expect("the folder can be created");
    std::fs::write(folder.path().join("lib.rs"), source).expect("the file can be written");
    let sysroot = Command::new("rustc").args(["--print", "sysroot"]).output().expect("rustc starts").stdout;
    let driver = Path::new(String::from_utf8_lossy(&sysroot).trim()).join("bin/clippy-driver");
    let output = Command::new(env!("CARGO_BIN_EXE_xtask"))
        .args([
            "rustc",
            "--crate-name",
            "sample",
            "--edition=2024",
            "lib.rs",
            "--crate-type",
            "lib",
            "--emit=metadata",
            "--out-dir",
            "out",
        ])
        .current_dir(folder.path())
        .env("XTASK_CLIPPY_DRIVER", driver)
        .env("XTASK_DOCUMENTATION", folder.path().join("doc"))
        .env("CLIPPY_ARGS", "--deny__CLIPPY_HACKERY__warnings__CLIPPY_HACKERY__")
        .output()
        .expect("the program starts");
    let documented = folder.path().join("doc/sample/index.html").is_file();
    assert_eq!(documented, output.status.success(), "a crate that compiles is documented");
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

#[test]
fn a_warning_about_the_code_or_the_documentation_is_an_error() {
    assert_eq!(compile("//! Refers to [`f`].\n/// Returns one.\npub fn f() -> u8 {\n    1\n}\n"), Ok(()));
    let said =
        compile("//! Sample.\n/// Returns one.\npub fn f() -> u8 {\n    return 1;\n}\n").expect_err("clippy has a warning");
    assert!(said.contains("needless_return"), "{said}");
    let said = compile("//! Refers to [`missing`].\n").expect_err("rustdoc has a warning");
    assert!(said.contains("unresolved link to `missing`"), "{said}");
}

#[test]
fn only_cargo_starts_the_compiler() {
    let output = Command::new(env!("CARGO_BIN_EXE_xtask")).args(["rustc", "-vV"]).env_remove("XTASK_CLIPPY_DRIVER").output();
    let output = output.expect("the program starts");
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("only `cargo xtask` starts this program as the compiler"));
}
