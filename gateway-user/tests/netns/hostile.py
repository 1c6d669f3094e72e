"""Packets that a peer or a host of the LAN might send to get where it may not, made by scapy.

One line each: who sends it, whether it must pass, its name, its bytes. Granted to the peer 100.96.0.2 (fd6e:7861::2) are
TCP port 443 and ICMP to 10.20.0.0/24 and fd20::/64.
"""

import logging

logging.getLogger("scapy").setLevel(logging.ERROR)

from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_LSRR, IPOption_RR, IPOption_SSRR, fragment  # noqa: E402
from scapy.layers.inet6 import (  # noqa: E402
    ICMPv6DestUnreach,
    ICMPv6EchoReply,
    ICMPv6EchoRequest,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
)
from scapy.packet import Raw  # noqa: E402

PEER, SERVER, FOREIGN = "100.96.0.2", "10.20.0.10", "10.20.1.10"
PEER6, SERVER6, FOREIGN6 = "fd6e:7861::2", "fd20::10", "fd20:0:0:1::10"


def say(sender, passes, name, *packets):
    for packet in packets:
        print(sender, "passes" if passes else "dropped", name, bytes(packet).hex())


def syn(source, destination, port, sport=40000, **ip):
    layer = IPv6 if ":" in source else IP
    return layer(src=source, dst=destination, **ip) / TCP(sport=sport, dport=port, flags="S") / Raw(b"nexa-live")


def udp(source, destination, port, sport=40000):
    layer = IPv6 if ":" in source else IP
    return layer(src=source, dst=destination) / UDP(sport=sport, dport=port) / Raw(b"nexa-live")


def peer():
    # What is granted passes, also with options and in fragments: the capture sees it.
    say("peer", True, "granted", syn(PEER, SERVER, 443))
    say("peer", True, "granted-v6", syn(PEER6, SERVER6, 443))
    say("peer", True, "granted-with-options", syn(PEER, SERVER, 443, options=[IPOption_RR()]))
    say("peer", True, "granted-with-extension-headers",
        IPv6(src=PEER6, dst=SERVER6) / IPv6ExtHdrDestOpt() / TCP(sport=40001, dport=443, flags="S") / Raw(b"nexa-live"))
    whole = IP(src=PEER, dst=SERVER, id=77) / ICMP(id=9) / Raw(b"nexa-live" * 20)
    say("peer", True, "granted-in-fragments", *fragment(whole, 64))

    # Fragments.
    refused = fragment(IP(src=PEER, dst=SERVER, id=78) / UDP(sport=40000, dport=53) / Raw(b"nexa-live" * 20), 64)
    say("peer", False, "fragments-of-what-is-not-granted", *refused)
    say("peer", False, "later-fragments-alone",
        *fragment(IP(src=PEER, dst=SERVER, id=79) / ICMP(id=9) / Raw(b"nexa-live" * 20), 64)[1:])
    tcp = bytes(TCP(sport=40000, dport=443, flags="A"))
    say("peer", False, "first-fragment-too-short-for-its-header",
        IP(src=PEER, dst=SERVER, id=80, flags="MF", proto=6) / Raw(tcp[:8]))
    say("peer", False, "flags-rewritten-by-a-second-fragment",
        IP(src=PEER, dst=SERVER, id=81, flags="MF", proto=6) / Raw(tcp + b"nexa"),
        IP(src=PEER, dst=SERVER, id=81, frag=1, proto=6) / Raw(bytes(TCP(sport=40000, dport=8443, flags="S"))[8:]))
    say("peer", False, "fragment-v6-of-what-is-not-granted",
        IPv6(src=PEER6, dst=SERVER6) / IPv6ExtHdrFragment(id=82, m=1) / UDP(sport=40000, dport=53) / Raw(b"nexa-live" * 8),
        IPv6(src=PEER6, dst=SERVER6) / IPv6ExtHdrFragment(id=82, offset=10, nh=17) / Raw(b"nexa-live"))
    say("peer", False, "fragment-v6-of-a-fragment",
        IPv6(src=PEER6, dst=SERVER6) / IPv6ExtHdrFragment(id=83) / IPv6ExtHdrFragment(id=84)
        / TCP(sport=40002, dport=443, flags="S"))

    # Sources that are not the peer's.
    for source in ["100.96.0.3", "100.96.0.1", SERVER, "10.20.0.1", "127.0.0.1", "0.0.0.0", "224.0.0.1", "255.255.255.255"]:
        say("peer", False, f"from-{source}", syn(source, SERVER, 443))
    for source in ["fd6e:7861::3", "fd6e:7861::1", SERVER6, "::1", "::", "ff02::1", f"::ffff:{PEER}", "fe80::1"]:
        say("peer", False, f"from-{source}", syn(source, SERVER6, 443))

    # Options and extension headers in front of what is not granted, and those that lead elsewhere.
    say("peer", False, "another-port", syn(PEER, SERVER, 8443))
    say("peer", False, "another-port-behind-options", syn(PEER, SERVER, 8443, options=[IPOption_RR()]))
    say("peer", False, "another-host-behind-options", syn(PEER, FOREIGN, 443, options=[IPOption_RR()]))
    for name, option in [("loose", IPOption_LSRR), ("strict", IPOption_SSRR)]:
        say("peer", False, f"{name}-source-route", syn(PEER, SERVER, 443, options=[option(routers=[FOREIGN])]))
    behind = TCP(sport=40000, dport=8443, flags="S")
    for name, header in [("hop-by-hop", IPv6ExtHdrHopByHop()), ("destination-options", IPv6ExtHdrDestOpt())]:
        say("peer", False, f"another-port-behind-{name}", IPv6(src=PEER6, dst=SERVER6) / header / behind)
    say("peer", False, "routing-header",
        IPv6(src=PEER6, dst=SERVER6) / IPv6ExtHdrRouting(addresses=[FOREIGN6]) / TCP(sport=40003, dport=443, flags="S"))

    # ICMP.
    say("peer", False, "echo-reply-to-nothing", IP(src=PEER, dst=SERVER) / ICMP(type=0, id=9) / Raw(b"nexa-live"))
    say("peer", False, "echo-reply-to-nothing-v6", IPv6(src=PEER6, dst=SERVER6) / ICMPv6EchoReply(id=9, data=b"nexa-live"))
    say("peer", False, "error-about-nothing",
        IP(src=PEER, dst=SERVER) / ICMP(type=3, code=1) / udp(SERVER, PEER, 1, 53))
    say("peer", False, "error-about-nothing-v6",
        IPv6(src=PEER6, dst=SERVER6) / ICMPv6DestUnreach() / udp(SERVER6, PEER6, 1, 53))


def lan():
    for source, destination in [(SERVER, PEER), (SERVER6, PEER6)]:
        family = "v6" if ":" in source else "v4"
        for sport in [443, 53, 40000]:
            say("lan", False, f"tcp-from-{sport}-{family}", syn(source, destination, 40000, sport))
            say("lan", False, f"udp-from-{sport}-{family}", udp(source, destination, 40000, sport))
    # The identifier of a request that the peer has just sent.
    for identifier in [9, 0x0800]:
        say("lan", False, f"echo-request-{identifier}", IP(src=SERVER, dst=PEER) / ICMP(id=identifier) / Raw(b"nexa-live"))
        say("lan", False, f"echo-reply-{identifier}", IP(src=SERVER, dst=PEER) / ICMP(type=0, id=identifier) / Raw(b"nexa-live"))
    for identifier in [9, 0x8000]:
        say("lan", False, f"echo-request-{identifier}-v6", IPv6(src=SERVER6, dst=PEER6) / ICMPv6EchoRequest(id=identifier))
    say("lan", False, "error-about-nothing", IP(src=SERVER, dst=PEER) / ICMP(type=3, code=1) / udp(PEER, SERVER, 53, 1))
    say("lan", False, "fragments", *fragment(udp(SERVER, PEER, 40000, 443) / Raw(b"nexa-live" * 20), 64))
    say("lan", False, "options", syn(SERVER, PEER, 40000, 443, options=[IPOption_RR()]))
    say("lan", False, "source-route", syn(SERVER, "10.20.0.1", 40000, 443, options=[IPOption_LSRR(routers=[PEER])]))
    say("lan", False, "from-a-peers-address", syn("100.96.0.3", PEER, 40000, 443))
    say("lan", False, "from-the-gateways-tunnel-address", syn("100.96.0.1", PEER, 40000, 443))


peer()
lan()
