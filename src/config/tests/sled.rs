//! Every fault that `sled.toml` could have.

use super::*;

#[test]
fn every_fault_of_sled_toml_is_named_with_its_line() {
    for (from, to, problem, remedy) in [
        ("reserve = \"5%\"", "resreve = \"5%\"", "no key", "reserve"),
        ("[http]", "[htpt]", "no key", "write http"),
        ("\"thick\"\n", "\"thik\"\n", "neither thick nor thin", "\"thick\" or \"thin\""),
        ("\"5%\"", "\"lots\"", "neither a percentage", "\"5%\""),
        ("\"5%\"", "\"500%\"", "neither a percentage", "\"5%\""),
        ("min_link_mbps = 2500", "min_link_mbps = \"fast\"", "is a string", "an integer"),
        ("min_usb_mbps = 5000", "min_usb_mbps = -1", "-1 is not from", "from 1"),
        ("#hung_after = \"5s\"", "hung_after = \"soon\"", "no length of time", "\"5s\""),
        ("#steady_after = \"1m\"", "steady_after = \"0s\"", "no time at all", "\"1s\""),
        ("#crashes = 5", "crashes = 1", "1 is not from 2", "from 2"),
        ("user = \"crucible\"", "user = \"a b\"", "no name of a user", "31 letters"),
        ("bridge = \"br0\"", "bridge = \"a-bridge-of-sixteen\"", "no name of an interface", "15 letters"),
        ("root = \"/crucible\"", "root = \"crucible\"", "no plain absolute path", "/crucible"),
        ("root = \"/crucible\"", "root = \"/srv/../crucible\"", "no plain absolute path", "/crucible"),
        ("#listen = [\"192.168.4.189:3800\"]", "listen = [\"192.168.4.189\"]", "no address with a port", "3800"),
        ("#names = []", "names = [\"a.example:3800\"]", "no name of a machine", "without a port"),
        ("#names = []", "names = [\"10.0.0.1\"]", "no name of a machine", "without a port"),
        ("name = \"proper-raptor\"", "name = \"proper-rapter\"", "has no sled", "\"proper-raptor\""),
        ("name = \"proper-raptor\"", "name = \"../x\"", "a-z, 0-9 and -", "proper-raptor"),
        ("root = \"/crucible\"", "root = 3", "is an integer", "a string"),
        // A number alone is no size, with or without quotes, and a remedy leads to no other meaning.
        ("reserve = \"5%\"", "reserve = 5", "is an integer", "\"5%\" or a size such as \"20GiB\""),
        ("reserve = \"5%\"", "reserve = \"5\"", "\"5%\" or as \"5GiB\"", "\"5%\""),
        ("reserve = \"5%\"", "reserve = \"20GB\"", "write \"20GiB\"", "\"20GiB\""),
        ("reserve = \"5%\"", "reserve = \"20g\"", "neither a percentage", "\"20GiB\""),
        ("#keep_deleted = \"7d\"", "keep_deleted = \"1m\"", "write \"1min\" or \"30d\"", "days or hours"),
        ("#keep_deleted = \"7d\"", "keep_deleted = \"2M\"", "write \"2min\" or \"60d\"", "days or hours"),
        ("#keep_deleted = \"7d\"", "keep_deleted = 7", "is an integer", "\"7d\""),
        ("#size = \"16MiB\"", "size = \"5%\"", "is a share", "\"16MiB\""),
        ("#size = \"16MiB\"", "size = \"1KiB\"", "is less than 64KiB", "\"64KiB\""),
        ("#age = \"90d\"", "age = \"3m\"", "write \"3min\" or \"90d\"", "days or hours"),
        ("#age = \"90d\"", "age = \"0d\"", "no time at all", "\"90d\""),
        ("#hung_after = \"5s\"", "hung_after = 5", "is an integer", "\"5s\""),
        ("bridge = \"br0\"", "bridge = \"lo\"", "no bridge", "br0"),
        ("gateway = \"192.168.4.1\"", "gateway = \"192.168.5.1\"", "not in the network of the sled", "router's"),
        ("gateway = \"192.168.4.1\"", "gateway = \"192.168.4.189\"", "is the sled itself", "router's"),
        ("gateway = \"192.168.4.1\"", "gateway = \"192.168.4.255\"", "broadcast address of 192.168.4.0/24", "router's"),
        ("gateway = \"192.168.4.1\"", "gateway = \"192.168.4.0\"", "the network 192.168.4.0/24 itself", "router's"),
        ("gateway = \"192.168.4.1\"", "gateway = \"0.0.0.0\"", "no address of a router", "router's"),
        ("dns = [\"192.168.4.53\"]", "dns = [\"0.0.0.0\"]", "no server's address", "each once"),
        ("dns = [\"192.168.4.53\"]", "dns = [\"192.168.4.53\", \"192.168.4.53\"]", "listed twice", "each once"),
    ] {
        one_fault("sled.toml", from, to, problem, remedy);
    }
}

#[test]
fn every_fault_of_an_adapter_is_named_with_its_line() {
    let given = "nic = \"enx00e04ca81110\"";
    for (nic, problem, remedy) in [
        ("\"br0\"", "is the bridge itself", "ip link"),
        ("\"lo\"", "reaches no host", "ip link"),
        ("[\"enx0\", \"usb\", \"usb\"]", "usb is listed twice", "or a list of these"),
        ("[]", "is an empty list", "ip link"),
        ("\"00:e0:4c:a8:11\"", "no hardware address", "ip link"),
    ] {
        one_fault("sled.toml", given, &format!("nic = {nic}"), problem, remedy);
    }
}

#[test]
fn every_fault_of_a_spare_is_named_with_its_line() {
    for (spare, problem) in [
        ("\"enx00e04ca81110\"", "cannot take over from itself"),
        ("\"br0\"", "is the bridge itself"),
        ("\"lo\"", "reaches no host"),
        ("\"bond0\"", "put together as"),
        ("\"a b\"", "no name of an interface"),
    ] {
        one_fault("sled.toml", "# spare = \"eno1\"", &format!("spare = {spare}"), problem, "another adapter");
    }
    let list = SLED.replace("nic = \"enx00e04ca81110\"", "nic = [\"enx0\", \"usb\"]").replace("# spare", "spare");
    let found = faults(&list, MAP);
    assert!(found.len() == 1 && found[0].line == line(&list, "spare = \"eno1\""), "{found:#?}");
    assert!(found[0].problem.contains("a spare is for one adapter"), "{found:#?}");
}

#[test]
fn a_vlan_that_there_is_not_is_named_with_its_line() {
    for (vlan, problem) in [("0", "0 is not from 1"), ("4095", "4095 is not from 1")] {
        one_fault("sled.toml", "# vlan = 5", &format!("vlan = {vlan}"), problem, "4094");
    }
}

#[test]
fn every_fault_of_notify_is_named_with_its_line() {
    let (webhook, ntfy) = ("# webhook = \"https://alerts.example/sled\"", "# ntfy = \"https://ntfy.sh/my-sleds\"");
    let program = "# program = [\"/usr/local/bin/tell\", \"--sled\"]";
    for (from, to, problem, remedy) in [
        (webhook, "webhook = \"alerts.example\"", "no URL of http or https", "https://alerts.example/sled"),
        (webhook, "webhook = \"ftp://alerts.example/sled\"", "no URL of http or https", "https://alerts.example/sled"),
        (webhook, "webhook = \"https:///sled\"", "no URL", "https://alerts.example/sled"),
        (webhook, "webhook = \"https://me:secret@alerts.example/\"", "not sent", "https://alerts.example/sled"),
        (ntfy, "ntfy = \"https://ntfy.sh/\"", "names no topic", "https://ntfy.sh/my-sleds"),
        (ntfy, "ntfy = \"https://ntfy.sh/a/b\"", "names no topic", "https://ntfy.sh/my-sleds"),
        (program, "program = [\"tell\"]", "no plain absolute path", "/usr/local/bin/tell"),
        (program, "program = []", "names no program", "/usr/local/bin/tell"),
        (program, "program = \"/usr/local/bin/tell\"", "is a string", "a list of strings"),
        ("#severity = \"blocking\"", "severity = \"information\"", "neither blocking nor warning", "\"warning\""),
        ("#delay = \"30s\"", "delay = \"soon\"", "no length of time", "\"30s\""),
        ("#at_most = 12", "at_most = 0", "0 is not from 1", "from 1"),
    ] {
        one_fault("sled.toml", from, to, problem, remedy);
    }
}

/// Sockets of the endpoint: each is opened by itself, and none if one cannot be.
#[test]
fn of_two_sockets_in_one_place_the_second_is_a_fault() {
    for (first, second, problem) in [
        ("0.0.0.0:3800", "192.168.4.189:3800", "taken by \"0.0.0.0:3800\" already (sled.toml, line"),
        ("192.168.4.189:3800", "0.0.0.0:3800", "taken by \"192.168.4.189:3800\""),
        ("192.168.4.189:3800", "192.168.4.189:3800", "taken by"),
        ("192.168.4.189:3800", "[::ffff:192.168.4.189]:3800", "taken by"),
        ("[::]:3800", "192.168.4.189:3800", "taken by \"[::]:3800\""),
        ("[::]:3800", "0.0.0.0:3800", "taken by"),
        ("[fd00::1]:3800", "[::]:3800", "taken by"),
        ("192.168.4.189:3800", "224.0.0.1:3800", "a group"),
        ("192.168.4.189:3800", "[ff02::1]:3800", "a group"),
        ("192.168.4.189:3800", "255.255.255.255:3800", "everybody's"),
        ("192.168.4.189:3800", "[fe80::1]:3800", "does not say on which"),
        ("192.168.4.189:3800", "", ""),
        ("192.168.4.189:3800", "192.168.4.189:3801", ""),
        ("0.0.0.0:3800", "[fd00::1]:3800", ""),
        ("192.168.4.189:3800", "127.0.0.1:3800", ""),
        ("192.168.4.189:3800", "[fe80::1%2]:3800", ""),
    ] {
        let list: Vec<_> =
            [first, second].into_iter().filter(|one| !one.is_empty()).map(|one| format!("{one:?}")).collect();
        let sled =
            SLED.replacen("#listen = [\"192.168.4.189:3800\"]", &format!("listen = [\n{}\n]", list.join(",\n")), 1);
        let found = faults(&sled, MAP);
        match problem {
            "" => assert_eq!(found, [], "{first} {second}"),
            problem => {
                assert_eq!(found.len(), 1, "{first} {second}: {found:#?}");
                assert_eq!((found[0].key.as_str(), found[0].line), ("http.listen", line(&sled, list[1].as_str())));
                assert!(found[0].problem.contains(problem), "{found:#?}");
            }
        }
    }
}

#[test]
fn the_network_of_an_appliance_suits_its_address() {
    let found = |from: &str, to: &str| faults(&SLED.replacen(from, to, 1), MAP);
    let prefix = found("prefix = 24", "prefix = 64");
    assert!(prefix.len() == 1 && prefix[0].key == "appliance.prefix" && prefix[0].line.is_some(), "{prefix:?}");
    let gateway = found("gateway = \"192.168.4.1\"", "gateway = \"fd00::1\"");
    assert!(gateway.len() == 1 && gateway[0].key == "appliance.gateway", "{gateway:?}");
    let update = found("# update = \"https://updates.example/sled\"", "update = \"ftp://x\"");
    assert!(update.len() == 1 && update[0].key == "appliance.update", "{update:?}");
}

/// Each at its own line: what the server says is not said here, and it has no addresses of IPv6.
#[test]
fn every_fault_of_dhcp_is_named_with_its_line() {
    one_fault("sled.toml", "#address = \"static\"", "address = \"dchp\"", "neither static nor dhcp", "\"dhcp\"");
    let dhcp = SLED.replacen("#address = \"static\"", "address = \"dhcp\"", 1);
    let found = faults(&dhcp, MAP);
    let places: Vec<_> = found.iter().map(|fault| (fault.key.as_str(), fault.line)).collect();
    let at = |needle| line(&dhcp, needle);
    let wanted = [("appliance.prefix", at("prefix = 24")), ("appliance.gateway", at("gateway = \"192.168.4.1\""))];
    assert_eq!(places, wanted, "{found:#?}");
    assert!(found.iter().all(|fault| fault.problem.contains("the DHCP server says this")), "{found:#?}");
    let dhcp = dhcp.replacen("prefix = 24", "", 1).replacen("gateway = \"192.168.4.1\"", "", 1);
    assert_eq!(faults(&dhcp, MAP), []);
    let six = faults(&dhcp, &MAP.replace("192.168.4.189", "fd00::5"));
    let place = ("network.address", line(&dhcp, "address = \"dhcp\""));
    assert!(six.iter().any(|fault| (fault.key.as_str(), fault.line) == place), "{six:#?}");
}

/// The shipped file with its example of TLS in force.
fn with_tls() -> String {
    ["cert", "key", "root_cert"].iter().fold(SLED.to_owned(), |text, key| {
        let shown = format!("# {key} = ");
        assert!(text.contains(&shown), "{key} is not shown");
        text.replacen(&shown, &format!("{key} = "), 1)
    })
}

#[test]
fn tls_is_three_files_or_none() {
    assert_eq!(read(&sources(SLED, MAP)).unwrap().sled.tls, None);
    let tls = read(&sources(&with_tls(), MAP)).unwrap().sled.tls.unwrap();
    assert_eq!(tls.cert, std::path::Path::new("/etc/sled/tls/cert.pem"));
    assert_eq!(tls.expires_warning, Tls::EXPIRES_WARNING);
    let text = with_tls().replace("#expires_warning = \"30d\"", "expires_warning = \"7d\"");
    assert_eq!(read(&sources(&text, MAP)).unwrap().sled.tls.unwrap().expires_warning.to_string(), "7 d");
    for (from, to, at, problem, remedy) in [
        ("key = \"/etc/sled/tls/key.pem\"", "", "[tls]", "is missing", "all three: cert, key and root_cert"),
        ("root_cert = \"/etc/sled/tls/root.pem\"", "", "[tls]", "is missing", "/etc/sled/tls/root.pem"),
        ("\"/etc/sled/tls/cert.pem\"", "\"tls/cert.pem\"", "tls/cert.pem", "no plain absolute path", "begins with /"),
        ("\"/etc/sled/tls/key.pem\"", "\"/root/key.pem\"", "/root/key.pem", "below /root", "move it"),
        ("\"/etc/sled/tls/key.pem\"", "3", "key = 3", "is an integer", "a string"),
        ("#expires_warning = \"30d\"", "expires_warning = \"0d\"", "\"0d\"", "no time at all", "\"30d\""),
        ("#expires_warning = ", "expire_warning = ", "expire_warning", "no key", "write expires_warning"),
    ] {
        let text = with_tls().replacen(from, to, 1);
        let found = faults(&text, MAP);
        assert_eq!(found.len(), 1, "{to:?}: {found:#?}");
        assert_eq!(found[0].line, line(&text, at), "{found:#?}");
        assert!(found[0].problem.contains(problem) && found[0].remedy.contains(remedy), "{found:#?}");
    }
}

#[test]
fn every_fault_of_update_is_named_with_its_line() {
    let window = "# window = \"Sun 04:00-06:00\"";
    for (from, to, problem, remedy) in [
        ("#check = \"1d\"", "check = \"soon\"", "no length of time", "\"15m\""),
        ("#check = \"1d\"", "check = \"10m\"", "less than 15 min", "\"15m\""),
        (window, "window = \"Sunday\"", "no time of the week", "\"Sun 04:00-06:00\""),
        (window, "window = \"Son 04:00-06:00\"", "none of Mon, Tue", "\"Sun 04:00-06:00\""),
        (window, "window = \"04:00-04:00\"", "ends when it begins", "each day"),
        ("#delay = \"7d\"", "delay = \"1m\"", "may be minutes or months", "\"7d\""),
        ("#apply = \"manual\"", "apply = \"auto\"", "neither manual nor window", "\"window\""),
        ("#apply = \"manual\"", "apply = \"window\"", "no window", "window = \"Sun 04:00-06:00\""),
    ] {
        one_fault("sled.toml", from, to, problem, remedy);
    }
}

/// The window has a fault together with what stands beside it, and the line is the window's.
#[test]
fn a_window_that_is_shorter_than_the_time_between_two_checks_is_a_fault() {
    let read = |update: &str| {
        let sled = SLED.replacen("[update]\n", &format!("[update]\n{update}\n"), 1);
        let found = read(&sources(&sled, MAP));
        found.map(|config| config.sled.update).map_err(|found| {
            assert_eq!(found.len(), 1, "{found:#?}");
            let at = sled.lines().position(|line| line.starts_with("window = "));
            assert_eq!(found[0].line, at.map(|at| at + 1), "{found:#?}");
            (found[0].problem.clone(), found[0].remedy.clone())
        })
    };
    let (short, apply) = ("window = \"Sun 04:00-06:00\"", "apply = \"window\"");
    let (problem, remedy) = read(&format!("check = \"1d\"\n{short}\n{apply}")).unwrap_err();
    assert!(
        problem.contains("shorter") && problem.contains("1 d") && remedy.contains("\"120m\""),
        "{problem} {remedy}"
    );
    assert!(read(&format!("check = \"never\"\n{short}\n{apply}")).unwrap_err().0.contains("nobody checks"));
    assert!(read(&format!("window = \"04:00-04:05\"\n{apply}")).unwrap_err().1.contains("15 minutes"));
    // Applied by hand, it is no matter; and a sled that is not told how often checks often enough.
    assert_eq!(read(&format!("check = \"1d\"\n{short}")).map(|update| update.apply), Ok(Apply::Manual));
    let hours = |update: &str| read(update).map(|update| update.check.map(|check| check.seconds / 3600));
    assert_eq!(hours(&format!("{short}\n{apply}")), Ok(Some(2)));
    assert_eq!(hours(&format!("check = \"2h\"\n{short}\n{apply}")), Ok(Some(2)));
    assert_eq!((hours(short), hours("")), (Ok(Some(24)), Ok(Some(24))));
}
