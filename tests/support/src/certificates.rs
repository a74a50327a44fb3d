//! Certificates for tests, made by openssl(1) in a directory of the test's own: a root, and what
//! it has issued. The keys are as the downstairs takes them unless another form is asked for.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The names by which hosts call the regions of a volume.
pub const NAMES: &str = "subjectAltName=DNS:downstairs0,DNS:downstairs1,DNS:downstairs2";

/// A root, with its certificate in `root.pem`, and the directory in which everything is made.
pub struct Authority {
    dir: PathBuf,
}

impl Authority {
    /// A new one, whose certificate is good for so many days.
    pub fn new(dir: &Path, days: i32) -> Self {
        let authority = Self { dir: dir.to_owned() };
        authority.key("root.key");
        let of = ["-key", "root.key", "-subj", "/CN=test root", "-out", "root.csr"];
        authority.openssl(&[&["req", "-new"], &of[..]].concat());
        authority.sign("root", &["-signkey", "root.key"], days, "basicConstraints=critical,CA:TRUE");
        authority
    }

    /// A certificate `NAME.pem` with its key `NAME.key`, good for so many days, of which the last
    /// may be gone; `extensions` are separated by line ends.
    pub fn issue(&self, name: &str, days: i32, extensions: &str) -> &Self {
        let key = format!("{name}.key");
        self.key(&key);
        self.openssl(&["req", "-new", "-key", &key, "-subj", "/CN=test sled", "-out", &format!("{name}.csr")]);
        let by = ["-CA", "root.pem", "-CAkey", "root.key", "-CAcreateserial"];
        self.sign(name, &by, days, extensions);
        self
    }

    fn key(&self, name: &str) {
        self.openssl(&["genrsa", "-traditional", "-out", name, "2048"]);
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o400)).unwrap();
    }

    fn sign(&self, name: &str, by: &[&str], days: i32, extensions: &str) {
        fs::write(self.path("extensions"), extensions).unwrap();
        let (request, made, days) = (format!("{name}.csr"), format!("{name}.pem"), days.to_string());
        let words = ["x509", "-req", "-in", &request, "-days", &days, "-extfile", "extensions", "-out", &made];
        self.openssl(&[&words[..], by].concat());
    }

    /// The path of a file of it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The text of a file of it.
    pub fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// Runs openssl in the directory.
    pub fn openssl(&self, words: &[&str]) {
        let output = Command::new("openssl").args(words).current_dir(&self.dir).output().unwrap();
        assert!(output.status.success(), "openssl {words:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}
