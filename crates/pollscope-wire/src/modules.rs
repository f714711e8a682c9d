//! What is loaded into this process: the executable and its libraries, with their build ids, so that addresses
//! can be told apart later by somebody else, also when the process is gone.

/// A loaded module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// First mapped address.
    pub base: u64,
    /// End of its executable part.
    pub end: u64,
    /// Its file as the loader names it; of the vdso its name.
    pub path: String,
    /// Build id, empty if it has none; at most 32 bytes.
    pub build_id: Vec<u8>,
}

/// The longest build id kept, bytes.
pub const LONGEST_BUILD_ID: usize = 32;

/// All modules that are loaded now, the executable first; none where the system does not tell.
#[cfg(target_os = "linux")]
pub fn loaded() -> Vec<Module> {
    let mut all: Vec<Module> = Vec::new();
    // SAFETY: `each` gets `all` back as its last argument, for the time of this call only.
    unsafe { libc::dl_iterate_phdr(Some(each), (&raw mut all).cast()) };
    // The loader calls the executable by no name.
    if let (Some(first), Ok(exe)) = (all.first_mut(), std::env::current_exe())
        && first.path.is_empty()
    {
        first.path = exe.to_string_lossy().into_owned();
    }
    all
}

/// All modules that are loaded now, the executable first; none where the system does not tell.
#[cfg(not(target_os = "linux"))]
pub fn loaded() -> Vec<Module> {
    Vec::new()
}

#[cfg(target_os = "linux")]
unsafe extern "C" fn each(info: *mut libc::dl_phdr_info, _: libc::size_t, all: *mut libc::c_void) -> i32 {
    // SAFETY: the loader's description is whole for the time of this call, and `all` is what `loaded` gave.
    let (info, all) = unsafe { (&*info, &mut *all.cast::<Vec<Module>>()) };
    if info.dlpi_phdr.is_null() {
        return 0;
    }
    // SAFETY: the loader says that so many headers stand there; they stay as long as the module is loaded, and
    // it is not unloaded while the loader holds its lock around this call.
    let headers = unsafe { std::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum as usize) };
    let bias = info.dlpi_addr;
    let mapped = || headers.iter().filter(|header| header.p_type == libc::PT_LOAD);
    let Some(base) = mapped().map(|header| bias.wrapping_add(header.p_vaddr)).min() else { return 0 };
    let code = mapped().filter(|header| header.p_flags & libc::PF_X != 0);
    let end = code.map(|header| bias.wrapping_add(header.p_vaddr).wrapping_add(header.p_memsz)).max();
    let notes = headers.iter().filter(|header| header.p_type == libc::PT_NOTE).map(|header| {
        let start = bias.wrapping_add(header.p_vaddr) as *const u8;
        // SAFETY: a note segment lies within a mapped one and is only read.
        unsafe { std::slice::from_raw_parts(start, header.p_memsz as usize) }
    });
    let build_id = notes.filter_map(build_id).next().unwrap_or_default();
    let path = if info.dlpi_name.is_null() {
        String::new()
    } else {
        // SAFETY: the loader's names are C strings.
        unsafe { std::ffi::CStr::from_ptr(info.dlpi_name) }.to_string_lossy().into_owned()
    };
    all.push(Module { base, end: end.unwrap_or(base), path, build_id });
    0
}

/// The build id in a note segment: lengths of name and value, type, name, value, each padded to 4 bytes.
#[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "called where modules are told"))]
fn build_id(mut notes: &[u8]) -> Option<Vec<u8>> {
    const GNU_BUILD_ID: u32 = 3;
    loop {
        let (head, rest) = notes.split_first_chunk::<12>()?;
        let number = |at: usize| u32::from_ne_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let (name_len, value_len) = (number(0) as usize, number(4) as usize);
        let name = rest.get(..name_len)?;
        let rest = rest.get(name_len.next_multiple_of(4)..)?;
        let value = rest.get(..value_len)?;
        if name == b"GNU\0" && number(8) == GNU_BUILD_ID {
            return Some(value[..value_len.min(LONGEST_BUILD_ID)].to_vec());
        }
        notes = rest.get(value_len.next_multiple_of(4)..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(name: &[u8], kind: u32, value: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for number in [name.len() as u32, value.len() as u32, kind] {
            bytes.extend_from_slice(&number.to_ne_bytes());
        }
        for part in [name, value] {
            bytes.extend_from_slice(part);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        bytes
    }

    #[test]
    fn a_build_id_is_found_behind_other_notes() {
        let mut notes = note(b"Go\0", 4, b"odd length!");
        notes.extend(note(b"GNU\0", 1, &[0; 16]));
        notes.extend(note(b"GNU\0", 3, &[7; 20]));
        assert_eq!(build_id(&notes), Some(vec![7; 20]));
        assert_eq!(build_id(&notes[..notes.len() - 1]), None, "cut off");
        assert_eq!(build_id(&note(b"GNU\0", 3, &[1; 40])), Some(vec![1; 32]));
        assert_eq!(build_id(&note(b"GNU\0", 5, &[1; 20])), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_program_and_its_code_are_among_what_is_loaded() {
        let all = loaded();
        let exe = std::env::current_exe().unwrap();
        assert_eq!(all[0].path, exe.to_string_lossy());
        let here = loaded as *const () as u64;
        let around: Vec<&Module> = all.iter().filter(|m| (m.base..m.end).contains(&here)).collect();
        assert_eq!(around, [&all[0]]);
        // Its build id, if it has one, stands in its file.
        let bytes = std::fs::read(exe).unwrap();
        let id = &all[0].build_id;
        assert!(id.is_empty() || bytes.windows(id.len()).any(|window| window == id));
    }
}
