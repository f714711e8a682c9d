//! Why no session was found.

use crate::observe::Observed;
use pollscope_wire::reader::{OpenError, SessionFiles};
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// What keeps those that were asked for from being found, a line each; none: nothing but that they are not there.
pub fn reasons(observed: &Observed) -> Vec<String> {
    let which = &observed.which;
    let services: BTreeSet<&str> = observed.collector.unwanted().map(|(_, service)| service).collect();
    if let Some(service) = which.service.as_deref().filter(|service| !services.contains(service))
        && !services.is_empty()
    {
        let all: Vec<&str> = services.into_iter().collect();
        return vec![format!("no service `{service}`; there are: {}", all.join(", "))];
    }
    if let Some(session) = &which.session
        && !services.is_empty()
    {
        let of = which.service.as_ref().map_or(String::new(), |service| format!(" of service `{service}`"));
        return vec![format!("no session `{session}`{of}; see `pollscope sessions`")];
    }
    let dirs = observed.collector.dirs();
    let unread = dirs.iter().filter_map(|dir| unread(dir, !which.dir.is_empty()));
    // A session's own directory was refused already.
    let unread = unread.filter(|(dir, _)| observed.refused.iter().all(|(path, _)| path != dir));
    let refused = observed.refused.iter().map(|(path, why)| (path.as_path(), refused(path, why)));
    unread.chain(refused).map(|(path, why)| format!("no session found: {}{why}", path.display())).collect()
}

/// A directory that cannot be looked in, and why. One that was found by rule need not be there.
fn unread(dir: &Path, named: bool) -> Option<(&Path, String)> {
    let error = std::fs::read_dir(dir).err()?;
    let why = match error.kind() {
        ErrorKind::NotFound if !named => return None,
        ErrorKind::NotFound => " does not exist".to_owned(),
        ErrorKind::NotADirectory => " is no directory".to_owned(),
        ErrorKind::PermissionDenied => denied(dir),
        _ => format!(" cannot be read: {error}"),
    };
    Some((dir, why))
}

fn refused(path: &Path, why: &str) -> String {
    match SessionFiles::open(path) {
        Err(OpenError::Io(_, error)) if error.kind() == ErrorKind::PermissionDenied => denied(path),
        _ => format!(": {why}"),
    }
}

/// Whose it is; where not even that can be seen, whose the directory is that hides it.
fn denied(path: &Path) -> String {
    let seen = path.ancestors().find_map(|path| Some((path, std::fs::metadata(path).ok()?)));
    let whose = seen.map_or(String::new(), |(at, meta)| {
        let what = if at == path { "it".to_owned() } else { at.display().to_string() };
        format!("; {what} belongs to uid {}", meta.uid())
    });
    format!(
        " cannot be read: permission denied{whose}: run as that user or root, or set POLLSCOPE_GROUP for the service to a group of this user's"
    )
}
