//! A process without an interpreter comes in; what its program was made from or has loaded goes out.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use observer_core::audit::causes::matters;
use observer_core::audit::runs::Runtime;

use super::found::Found;
use super::{Libraries, Look};
use crate::tls::origin::{Compiler, constant_version, names_any, origin};

/// Directives of the modules that trace.
const NGINX_TRACING: [&str; 3] = ["otel_trace", "opentracing", "datadog_tracing"];

/// A program of machine code.
pub(super) fn look(found: &Found, program: Option<&File>) -> Look {
    let mapped = |runtime| mapped(&found.mapped, runtime);
    match found.name() {
        "nginx" => {
            let version = program.and_then(|file| constant_version(file, "nginx/", ""));
            // A module may be part of the program as well.
            let built_in = program.and_then(|file| names_any(file, &NGINX_TRACING));
            let unread = (built_in != Some(false)).then(|| "a tracing module may be built into it".to_owned());
            let libraries = Libraries { libraries: mapped(Runtime::Nginx), unread };
            return Look { runtime: Runtime::Nginx, version, libraries };
        }
        "envoy" => {
            let libraries =
                Libraries { libraries: BTreeMap::new(), unread: Some("its extensions are part of it".to_owned()) };
            return Look { runtime: Runtime::Envoy, version: None, libraries };
        }
        _ => {}
    }
    let native = |why: String| {
        let libraries = Libraries { libraries: mapped(Runtime::Native), unread: Some(why) };
        Look { runtime: Runtime::Native, version: None, libraries }
    };
    let Some(program) = program else { return native("its program cannot be read".to_owned()) };
    let origin = match origin(program) {
        Ok(origin) => origin,
        Err(why) => return native(format!("of its program: {why}")),
    };
    let (runtime, why) = match origin.compiler {
        Compiler::Go => (Runtime::Go, "its program has no list of its modules"),
        Compiler::Rust => (Runtime::Rust, "only the crates are known whose files its messages name"),
        Compiler::Other => return native("only the libraries are known that it has loaded".to_owned()),
    };
    let libraries = origin.libraries.into_iter().filter(|(name, _)| matters(runtime, name));
    let libraries = Libraries { libraries: libraries.collect(), unread: (!origin.is_all).then(|| why.to_owned()) };
    Look { runtime, version: origin.version, libraries }
}

/// The shared libraries that matter, by the names of their files: `libcurl.so.4.8.0` → libcurl, 4.8.0.
fn mapped(paths: &[PathBuf], runtime: Runtime) -> BTreeMap<String, Option<String>> {
    let names = paths.iter().filter_map(|path| path.file_name()?.to_str());
    names.filter_map(shared).filter(|(name, _)| matters(runtime, name)).collect()
}

fn shared(file: &str) -> Option<(String, Option<String>)> {
    let (name, rest) = file.split_once(".so")?;
    let version = rest.strip_prefix('.').filter(|version| !version.is_empty()).map(str::to_owned);
    (!name.is_empty() && (rest.is_empty() || version.is_some())).then(|| (name.to_owned(), version))
}

/// The version in the name of a library or a directory: `libruby-3.1.so.3.1.2`, `…/Microsoft.NETCore.App/8.0.1/libcoreclr.so`.
pub(super) fn version_in_path(path: &Path) -> Option<String> {
    let is_version = |text: &str| {
        text.split('.').count() >= 2
            && text.split('.').all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let file = path.file_name()?.to_str()?;
    let own = shared(file).and_then(|(_, version)| version).filter(|version| is_version(version));
    own.or_else(|| path.parent()?.file_name()?.to_str().filter(|name| is_version(name)).map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_libraries_are_named_without_their_version() {
        for (file, expected) in [
            ("libcurl.so.4.8.0", Some(("libcurl", Some("4.8.0")))),
            ("ngx_otel_module.so", Some(("ngx_otel_module", None))),
            ("libgrpc++.so.1.51", Some(("libgrpc++", Some("1.51")))),
            (".so", None),
            ("a.sound", None),
            ("python3", None),
        ] {
            let expected = expected.map(|(name, version)| (name.to_owned(), version.map(str::to_owned)));
            assert_eq!(shared(file), expected, "{file}");
        }
    }

    #[test]
    fn a_version_stands_in_the_name_or_the_directory() {
        for (path, expected) in [
            ("/usr/lib/libruby-3.1.so.3.1.2", Some("3.1.2")),
            ("/usr/share/dotnet/shared/Microsoft.NETCore.App/8.0.1/libcoreclr.so", Some("8.0.1")),
            ("/opt/x/libcoreclr.so", None),
            ("/", None),
        ] {
            assert_eq!(version_in_path(Path::new(path)).as_deref(), expected, "{path}");
        }
    }
}
