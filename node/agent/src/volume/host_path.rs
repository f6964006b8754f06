use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use k8s_openapi::api::core::v1::HostPathVolumeSource;

/// Checks a `hostPath` against its type, and makes what the type says may be made.
pub(crate) fn ensure(source: &HostPathVolumeSource) -> Result<(), String> {
    let path = Path::new(&source.path);
    let kind = source.type_.as_deref().unwrap_or_default();
    let made = match kind {
        "DirectoryOrCreate" if !path.exists() => fs::create_dir_all(path),
        "FileOrCreate" if !path.exists() => fs::File::create(path).map(drop),
        _ => Ok(()),
    };
    made.map_err(|error| format!("hostPath {}: {error}", source.path))?;
    let found = fs::metadata(path).map(|meta| meta.file_type());
    let fits = match (kind, &found) {
        ("", _) => true,
        (_, Err(_)) => false,
        ("Directory" | "DirectoryOrCreate", Ok(found)) => found.is_dir(),
        ("File" | "FileOrCreate", Ok(found)) => found.is_file(),
        ("Socket", Ok(found)) => found.is_socket(),
        ("CharDevice", Ok(found)) => found.is_char_device(),
        ("BlockDevice", Ok(found)) => found.is_block_device(),
        _ => false,
    };
    if fits { Ok(()) } else { Err(format!("hostPath type check failed: {} is not a {kind}", source.path)) }
}
