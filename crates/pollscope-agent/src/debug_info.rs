//! Whether an executable has line tables: in itself, or in a file of debug information where debuggers look for it.

use object::{Object, ObjectSection, ReadCache, ReadRef};
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Where an executable's line tables are.
#[derive(Debug, PartialEq, Eq)]
pub enum Lines {
    /// In the executable.
    Within,
    /// In this file, which was taken from it.
    In(PathBuf),
    /// They were not built, or were thrown away.
    Nowhere,
}

/// Looks into `file`, which is the executable that the service knows as `path`. `None`: the file is gone, or is none
/// that this machine could run.
pub fn lines(file: &Path, path: &Path) -> Option<Lines> {
    let cache = ReadCache::new(regular(file)?);
    let exe = object::File::parse(&cache).ok()?;
    if has_lines(&exe) {
        return Some(Lines::Within);
    }
    let id = exe.build_id().ok().flatten();
    let is_its = |candidate: &PathBuf| {
        let Some(file) = regular(candidate) else { return false };
        let cache = ReadCache::new(file);
        let apart = object::File::parse(&cache).ok();
        apart.is_some_and(|apart| has_lines(&apart) && apart.build_id().ok().flatten() == id)
    };
    let link = exe.gnu_debuglink().ok().flatten().map(|(name, _)| name);
    Some(candidates(path, id, link).into_iter().find(is_its).map_or(Lines::Nowhere, Lines::In))
}

/// A service names its executable itself: what is no regular file could keep us waiting.
fn regular(path: &Path) -> Option<File> {
    path.metadata().ok().filter(std::fs::Metadata::is_file)?;
    File::open(path).ok()
}

fn has_lines<'data, R: ReadRef<'data>>(file: &object::File<'data, R>) -> bool {
    file.section_by_name(".debug_line").is_some_and(|section| section.size() > 0)
}

/// The files where debuggers look: of the name in `.gnu_debuglink`, of the build id, and a bundle of macOS.
fn candidates(exe: &Path, id: Option<&[u8]>, link: Option<&[u8]>) -> Vec<PathBuf> {
    let system = Path::new("/usr/lib/debug");
    let mut all = Vec::new();
    // A name, not a way to somewhere else.
    let link = link.and_then(|name| Path::new(std::ffi::OsStr::from_bytes(name)).file_name());
    if let (Some(name), Some(dir)) = (link, exe.parent()) {
        all.extend([dir.join(name), dir.join(".debug").join(name)]);
        all.push(system.join(dir.strip_prefix("/").unwrap_or(dir)).join(name));
    }
    if let Some((first, rest)) = id.and_then(<[u8]>::split_first) {
        let rest: String = rest.iter().map(|byte| format!("{byte:02x}")).collect();
        all.push(system.join(format!(".build-id/{first:02x}/{rest}.debug")));
    }
    if let Some(name) = exe.file_name() {
        let mut bundle = name.to_owned();
        bundle.push(".dSYM/Contents/Resources/DWARF");
        all.push(exe.with_file_name(bundle).join(name));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_files_are_looked_for_where_debuggers_do() {
        let found = candidates(Path::new("/srv/till"), Some(&[0xab, 0xcd, 0x01]), Some(b"../till.debug"));
        let expected = [
            "/srv/till.debug",
            "/srv/.debug/till.debug",
            "/usr/lib/debug/srv/till.debug",
            "/usr/lib/debug/.build-id/ab/cd01.debug",
            "/srv/till.dSYM/Contents/Resources/DWARF/till",
        ];
        assert_eq!(found, expected.map(PathBuf::from));
    }
}
