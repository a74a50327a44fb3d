//! Transfers of `systemd-sysupdate`: where each part of an image comes from and where it goes (sysupdate.d(5)). The
//! kernel comes last: what can be started is complete. Pure.

use super::NAME;

/// The tries of another version before the one before it runs again.
pub const TRIES: u32 = 3;

/// Compose the files of a definitions directory, for what is offered at `url`; `running` is never touched.
pub fn definitions(url: &str, running: &str) -> [(&'static str, String); 3] {
    [
        ("10-verity.transfer", partition(url, running, "verity", "root-verity")),
        ("20-root.transfer", partition(url, running, "root", "root")),
        ("30-kernel.transfer", kernel(url, running)),
    ]
}

fn source(url: &str, running: &str, pattern: &str) -> String {
    format!(
        "[Transfer]\nProtectVersion={running}\nVerify=yes\n\n\
         [Source]\nType=url-file\nPath={url}\nMatchPattern={NAME}_@v{pattern}\n\n[Target]\n"
    )
}

fn partition(url: &str, running: &str, part: &str, kind: &str) -> String {
    let source = source(url, running, &format!(".{part}.@u.gz"));
    let label = if part == "root" { String::new() } else { format!("-{part}") };
    format!(
        "{source}Type=partition\nPath=auto\nMatchPattern={NAME}{label}_@v\nMatchPartitionType={kind}\nInstancesMax=2\n"
    )
}

fn kernel(url: &str, running: &str) -> String {
    let source = source(url, running, ".efi");
    let name = format!("{NAME}_@v");
    format!(
        "{source}Type=regular-file\nPath=/EFI/Linux\nPathRelativeTo=boot\n\
         MatchPattern={name}+@l-@d.efi {name}+@l.efi {name}.efi\n\
         Mode=0444\nTriesLeft={TRIES}\nTriesDone=0\nInstancesMax=2\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_is_verified_and_the_kernel_comes_last() {
        let files = definitions("http://127.0.0.1:1", "0.1.0.113");
        for (name, text) in &files {
            assert!(text.contains("\nVerify=yes\n") && text.contains("\nProtectVersion=0.1.0.113\n"), "{name}: {text}");
            assert!(text.contains("\nPath=http://127.0.0.1:1\n"), "{name}: {text}");
        }
        assert!(files.is_sorted_by_key(|(name, _)| *name));
        let (name, kernel) = &files[2];
        assert!(name.contains("kernel") && kernel.contains("TriesLeft=3"), "{kernel}");
        assert!(files[1].1.contains("MatchPattern=crucible-sled_@v.root.@u.gz"), "{}", files[1].1);
    }
}
