package config

// natMistakes are mistakes in the nat section of the example.
var natMistakes = []mistake{
	{
		"section as a list", "nat:\n", "nat: [x]\nnat2:\n",
		"cluster.yaml:38: nat is a list, not a mapping; write nat: {pools: {egress: {addresses: [203.0.113.10-203.0.113.11]}}, rules: [...]}\ncluster.yaml:39: unknown field nat2; did you mean nat?",
	},
	{
		"unknown field of nat", "  hold_down: 2m", "  holddown: 2m",
		"cluster.yaml:39: unknown field nat.holddown; did you mean hold_down?",
	},
	{
		"hold_down negative", "hold_down: 2m", "hold_down: -1s",
		"cluster.yaml:39: nat.hold_down -1s is outside 0s to 1h; write hold_down: 2m",
	},
	{
		"hold_down too long", "hold_down: 2m", "hold_down: 2h",
		"cluster.yaml:39: nat.hold_down 2h is outside 0s to 1h; write hold_down: 2m",
	},
	{
		"hold_down without unit", "hold_down: 2m", "hold_down: 120",
		"cluster.yaml:39: nat.hold_down 120 is not a time with a unit (ms, s, m, h); write hold_down: 120s",
	},
	{
		"hold_down_max", "hold_down_max: 1048576", "hold_down_max: 16",
		"cluster.yaml:40: nat.hold_down_max 16 is outside 1024-16777216; write hold_down_max: 1048576",
	},
	{
		"pools as a list", "  pools:                               # addresses that the routers route to the cluster\n    egress: {addresses: [203.0.113.10-203.0.113.11, 203.0.113.20],", "  pools: [egress]\n  pool:\n    egress: {addresses: [203.0.113.10-203.0.113.11, 203.0.113.20],",
		"cluster.yaml:41: nat.pools is a list, not a mapping; write pools: {egress: {addresses: [203.0.113.10-203.0.113.11]}}\ncluster.yaml:42: unknown field nat.pool; did you mean pools?\ncluster.yaml:49: nat.rules[4].pool direct is not a pool; add pools: {direct: {addresses: [203.0.113.10-203.0.113.11]}}\ncluster.yaml:50: nat.rules[5].pool egress is not a pool; add pools: {egress: {addresses: [203.0.113.10-203.0.113.11]}}\ncluster.yaml:51: nat.rules[6].pool egress is not a pool; add pools: {egress: {addresses: [203.0.113.10-203.0.113.11]}}",
	},
	{
		"pool name", "    direct:", "    -direct:",
		"cluster.yaml:43: -direct is not a name for a pool; write at most 31 letters, digits, '-', '_' or '.'\ncluster.yaml:48: nat.rules[4].pool direct is not a pool; known pools: egress",
	},
	{
		"pool named interface", "    direct:", "    interface:",
		"cluster.yaml:43: interface is not a name for a pool; choose another: a pool never takes an interface's addresses\ncluster.yaml:48: nat.rules[4].pool direct is not a pool; known pools: egress",
	},
	{
		"pool twice", "    direct:", "    egress:",
		"cluster.yaml:43: nat.pools.egress is written twice; keep this or line 42\ncluster.yaml:48: nat.rules[4].pool direct is not a pool; known pools: egress",
	},
	{
		"pool without addresses", "{addresses: 203.0.113.64/28, type", "{type",
		"cluster.yaml:43: nat.pools.direct.addresses is missing; add addresses: [203.0.113.10-203.0.113.11]",
	},
	{
		"unknown field of a pool", "type: addresses}", "typ: addresses}",
		"cluster.yaml:43: unknown field nat.pools.direct.typ; did you mean type?",
	},
	{
		"pool type", "type: addresses}", "type: nat}",
		"cluster.yaml:43: nat.pools.direct.type nat is not one of ports, addresses; write type: ports",
	},
	{
		"pool address", "203.0.113.64/28", "203.0.113.256",
		"cluster.yaml:43: nat.pools.direct.addresses 203.0.113.256 is not an IPv4 address; write addresses: [203.0.113.10-203.0.113.11]",
	},
	{
		"pool IPv6 address", "203.0.113.64/28", "2001:db8::1",
		"cluster.yaml:43: nat.pools.direct.addresses 2001:db8::1 is not IPv4, the only family supported in this version; write addresses: [203.0.113.10-203.0.113.11]",
	},
	{
		"pool network with host bits", "203.0.113.64/28", "203.0.113.65/28",
		"cluster.yaml:43: nat.pools.direct.addresses 203.0.113.65/28 has bits behind its length (the network is 203.0.113.64/28); write addresses: [203.0.113.10-203.0.113.11]",
	},
	{
		"pool range reversed", "203.0.113.10-203.0.113.11", "203.0.113.11-203.0.113.10",
		"cluster.yaml:42: nat.pools.egress.addresses 203.0.113.11-203.0.113.10 is reversed; write addresses: [203.0.113.10-203.0.113.11]",
	},
	{
		"pool multicast", "203.0.113.64/28", "239.0.0.1",
		"cluster.yaml:43: nat.pools.direct.addresses 239.0.0.1 is not unicast; write addresses: [203.0.113.10-203.0.113.11]",
	},
	{
		"pool of an interface", "203.0.113.64/28", "[203.0.113.64, interface]",
		"cluster.yaml:43: nat.pools.direct.addresses interface is refused: each node has an address of its own there, and a translation must outlive its node; use addresses that the routers route to the cluster",
	},
	{
		"pool too large", "203.0.113.64/28", "10.0.0.0/8",
		"cluster.yaml:43: nat.pools.direct.addresses 10.0.0.0/8 has 16777216 addresses, more than 1024 for all pools; use fewer: one address has ports for 64512 connections to each server",
	},
	{
		"pools too large together", "addresses: 203.0.113.64/28, type: addresses", "addresses: 192.0.0.0/22, type: addresses",
		"cluster.yaml:43: nat.pools.direct.addresses: the pools have 1027 addresses up to here, more than 1024; use fewer",
	},
	{
		"too many blocks", "203.0.113.64/28, type: addresses}", "[192.0.0.0/24, 192.0.1.0, 192.0.1.1]}",
		"cluster.yaml:43: nat.pools.direct.addresses: the pools have 32886 blocks up to here, more than 32768; use a larger block_size or fewer addresses",
	},
	{
		"too many blocks with a shorter last one", "203.0.113.64/28, type: addresses}", "192.0.0.0-192.0.3.231, block_size: 2000}",
		"cluster.yaml:43: nat.pools.direct.addresses: the pools have 33378 blocks up to here, more than 32768; use a larger block_size or fewer addresses",
	},
	{
		"no addresses in the list", "203.0.113.64/28", "[]",
		"cluster.yaml:43: nat.pools.direct.addresses is an empty list; write addresses: [203.0.113.10-203.0.113.11]",
	},
	{
		"block_size too small", "block_size: 512", "block_size: 63",
		"cluster.yaml:42: nat.pools.egress.block_size 63 is outside 64-4096; write block_size: 512",
	},
	{
		"block_size too large", "block_size: 512", "block_size: 4097",
		"cluster.yaml:42: nat.pools.egress.block_size 4097 is outside 64-4096; write block_size: 512",
	},
	{
		"block_size of addresses", "203.0.113.64/28, type: addresses", "203.0.113.64/28, type: addresses, block_size: 512, max_blocks_per_host: 1",
		"cluster.yaml:43: nat.pools.direct.block_size has no meaning for type addresses, whose blocks are whole addresses; remove it\ncluster.yaml:43: nat.pools.direct.max_blocks_per_host has no meaning for type addresses, whose blocks are whole addresses; remove it",
	},
	{
		"include_reserved", "include_reserved: false", "include_reserved: 0",
		"cluster.yaml:42: nat.pools.egress.include_reserved 0 is not one of true, false; write include_reserved: false",
	},
	{
		"max_inbound_per_mapping", "max_inbound_per_mapping: 1024", "max_inbound_per_mapping: 1048577",
		"cluster.yaml:42: nat.pools.egress.max_inbound_per_mapping 1048577 is outside 0-1048576; write max_inbound_per_mapping: 1024",
	}, {
		"max_blocks_per_host", "max_blocks_per_host: 0", "max_blocks_per_host: -1",
		"cluster.yaml:42: nat.pools.egress.max_blocks_per_host -1 is outside 0-32768; write max_blocks_per_host: 4",
	},
	{
		"address twice in a pool", "203.0.113.20]", "203.0.113.11]",
		"cluster.yaml:42: nat.pools.egress.addresses 203.0.113.11 is written twice; remove one of them",
	},
	{
		"address in two pools", "203.0.113.64/28", "203.0.113.0/28",
		"cluster.yaml:43: nat.pools.direct.addresses 203.0.113.10 is in pool egress (line 42) too; give every pool addresses of its own",
	},
	{
		"pool with the cluster address", "203.0.113.64/28", "198.51.100.250-198.51.100.254",
		"cluster.yaml:43: nat.pools.direct.addresses 198.51.100.250-198.51.100.254 overlaps the cluster_address 198.51.100.254 of interface outside; use addresses that the routers route to the cluster",
	},
	{
		"pool with the nodes' addresses", "203.0.113.64/28", "198.51.100.16-198.51.100.17",
		"cluster.yaml:43: nat.pools.direct.addresses 198.51.100.16-198.51.100.17 overlaps the nodes' addresses 198.51.100.1-198.51.100.16 of interface outside; use addresses that the routers route to the cluster",
	},
	{
		"pool with a network address", "203.0.113.64/28", "10.1.0.0",
		"cluster.yaml:43: nat.pools.direct.addresses 10.1.0.0 overlaps the network address 10.1.0.0 of interface inside; use addresses that the routers route to the cluster",
	},
	{
		"pool with a broadcast address", "203.0.113.64/28", "198.51.100.255",
		"cluster.yaml:43: nat.pools.direct.addresses 198.51.100.255 overlaps the broadcast address 198.51.100.255 of interface outside; use addresses that the routers route to the cluster",
	},
	{
		"rules as a mapping", "  rules:                               # the first match decides\n    - {name: keep", "  rules: {name: x}\n  rule:\n    - {name: keep",
		"cluster.yaml:44: nat.rules is a mapping, not a list; write rules: [{name: out, type: dynamic-pat, from: inside, to: outside, source: 10.0.0.0/8, pool: egress}]\ncluster.yaml:45: unknown field nat.rule; did you mean rules?",
	},
	{
		"rule without type", "{name: out, type: dynamic-pat, ", "{name: out, ",
		"cluster.yaml:50: nat.rules[6].type is missing; add type: dynamic-pat",
	},
	{
		"rule type", "{name: out, type: dynamic-pat", "{name: out, type: pat",
		"cluster.yaml:50: nat.rules[6].type pat is not one of static, static-pat, dynamic, dynamic-pat, identity; write type: dynamic-pat",
	},
	{
		"rule without interfaces", "{name: out, type: dynamic-pat, from: inside, to: outside,", "{name: out, type: dynamic-pat,",
		"cluster.yaml:50: nat.rules[6].from is missing; add from: inside\ncluster.yaml:50: nat.rules[6].to is missing; add to: outside",
	},
	{
		"rule with an unknown interface", "{name: out, type: dynamic-pat, from: inside, to: outside,", "{name: out, type: dynamic-pat, from: inside, to: outsid,",
		"cluster.yaml:50: nat.rules[6].to outsid is not an interface; did you mean outside?",
	},
	{
		"rule name twice", "name: out,", "name: web,",
		"cluster.yaml:50: nat.rules[6].name web is the name of the rule in line 46 too; give every rule a name of its own",
	},
	{
		"unknown field of a rule", "log: xlates", "logs: xlates",
		"cluster.yaml:50: unknown field nat.rules[6].logs; did you mean log?",
	},
	{
		"log", "log: xlates", "log: all",
		"cluster.yaml:50: nat.rules[6].log all is not one of blocks, xlates; write log: xlates",
	},
	{
		"source as a range", "source: 10.2.0.0/16", "source: 10.2.0.0-10.2.255.255",
		"cluster.yaml:48: nat.rules[4].source 10.2.0.0-10.2.255.255 is a range; a rule of nat takes an address or a network; write source: 10.0.0.0/8",
	},
	{
		"source as a list", "source: 10.2.0.0/16", "source: [10.2.0.0/16]",
		"cluster.yaml:48: nat.rules[4].source is a list, not an address or network; write source: 10.0.0.0/8",
	},
	{
		"source with host bits", "source: 10.2.0.0/16", "source: 10.2.0.1/16",
		"cluster.yaml:48: nat.rules[4].source 10.2.0.1/16 has bits behind its length (the network is 10.2.0.0/16); write source: 10.0.0.0/8",
	},
	{
		"ports of any protocol", "protocol: udp, ports", "ports",
		"cluster.yaml:49: nat.rules[5].ports has no meaning without protocol tcp or udp; add protocol: tcp",
	},
	{
		"mapping", "mapping: endpoint-independent", "mapping: symmetric",
		"cluster.yaml:49: nat.rules[5].mapping symmetric is not one of address-and-port-dependent, endpoint-independent; write mapping: endpoint-independent",
	},
	{
		"filtering alone", "mapping: endpoint-independent, filtering: address-and-port-dependent", "filtering: endpoint-independent",
		"cluster.yaml:49: nat.rules[5].filtering endpoint-independent needs a mapping that is endpoint-independent too; add mapping: endpoint-independent",
	},
	{
		"mapping of a dynamic rule", "pool: direct, filtering: endpoint-independent", "pool: direct, mapping: endpoint-independent",
		"cluster.yaml:48: nat.rules[4].mapping has no meaning for type dynamic; remove it: a host with an address of its own is mapped independently of its peers",
	},
	{
		"mapping of a static rule", "mapped: 203.0.113.80}", "mapped: 203.0.113.80, mapping: endpoint-independent}",
		"cluster.yaml:46: nat.rules[2].mapping has no meaning for type static; remove it: who reaches a static mapping is the policy's decision",
	},
	{
		"filtering of an identity rule", "destination: 10.9.0.0/16}", "destination: 10.9.0.0/16, filtering: endpoint-independent}",
		"cluster.yaml:45: nat.rules[1].filtering has no meaning for type identity; remove it",
	},
	{
		"source of a static rule", "mapped: 203.0.113.80}", "mapped: 203.0.113.80, source: 10.1.8.80}",
		"cluster.yaml:46: nat.rules[2].source has no meaning for type static; remove it: original says the source",
	},
	{
		"port of a static rule", "mapped: 203.0.113.80}", "mapped: 203.0.113.80, mapped_port: 80}",
		"cluster.yaml:46: nat.rules[2].mapped_port has no meaning for type static; write type: static-pat",
	},
	{
		"ports of a static-pat rule", "protocol: tcp, original_port: 22, mapped_port: 2222", "protocol: tcp, ports: 22",
		"cluster.yaml:47: nat.rules[3].original_port is missing; add original_port: 22\ncluster.yaml:47: nat.rules[3].mapped_port is missing; add mapped_port: 2222\ncluster.yaml:47: nat.rules[3].ports has no meaning for type static-pat; write original_port and mapped_port",
	},
	{
		"original of a dynamic rule", "source: 10.2.0.0/16", "original: 10.2.0.0/16",
		"cluster.yaml:48: nat.rules[4].original has no meaning for type dynamic; write source and pool, or type: static",
	},
	{
		"pool of a static rule", "mapped: 203.0.113.80}", "mapped: 203.0.113.80, pool: egress}",
		"cluster.yaml:46: nat.rules[2].pool has no meaning for type static; remove it",
	},
	{
		"static without mapped", ", mapped: 203.0.113.80}", "}",
		"cluster.yaml:46: nat.rules[2].mapped is missing; add mapped: 203.0.113.80",
	},
	{
		"dynamic without pool", "pool: direct, ", "",
		"cluster.yaml:48: nat.rules[4].pool is missing; add pool: egress",
	},
	{
		"static-pat without protocol", "protocol: tcp, original_port", "original_port",
		"cluster.yaml:47: nat.rules[3].protocol is missing; add protocol: tcp",
	},
	{
		"static-pat of icmp", "protocol: tcp, original_port", "protocol: icmp, original_port",
		"cluster.yaml:47: nat.rules[3].protocol has no ports, and static-pat maps one; write protocol: tcp",
	},
	{
		"port 0", "mapped_port: 2222", "mapped_port: 0",
		"cluster.yaml:47: nat.rules[3].mapped_port 0 is outside 1-65535; write mapped_port: 2222",
	},
	{
		"interface PAT", "pool: egress, log: xlates", "pool: interface, log: xlates",
		"cluster.yaml:50: nat.rules[6].pool interface is refused: each node has an address of its own there, and a translation must outlive its node; use addresses that the routers route to the cluster",
	},
	{
		"static interface PAT", "mapped: 203.0.113.81", "mapped: interface",
		"cluster.yaml:47: nat.rules[3].mapped interface is refused: each node has an address of its own there, and a translation must outlive its node; use addresses that the routers route to the cluster",
	},
	{
		"unknown pool, near", "pool: egress, log", "pool: egres, log",
		"cluster.yaml:50: nat.rules[6].pool egres is not a pool; did you mean egress?",
	},
	{
		"unknown pool, far", "pool: egress, log", "pool: dmz, log",
		"cluster.yaml:50: nat.rules[6].pool dmz is not a pool; known pools: egress, direct",
	},
	{
		"dynamic-pat with addresses", "pool: egress, log", "pool: direct, log",
		"cluster.yaml:50: nat.rules[6].pool direct lends whole addresses (line 43), and dynamic-pat needs a pool of ports; write type: dynamic, or another pool",
	},
	{
		"dynamic with ports", "pool: direct,", "pool: egress,",
		"cluster.yaml:48: nat.rules[4].pool egress lends ports (line 42), and dynamic needs a pool of type addresses; write type: dynamic-pat, or another pool",
	},
	{
		"sizes differ", "original: 10.1.8.80, mapped", "original: 10.1.8.80/31, mapped",
		"cluster.yaml:46: nat.rules[2].mapped 203.0.113.80 has another size than original 10.1.8.80/31; write a network of length /31",
	},
	{
		"mapped to itself", "mapped: 203.0.113.80}", "mapped: 10.1.8.80}",
		"cluster.yaml:46: nat.rules[2].mapped 10.1.8.80 is the original; write type: identity, and source instead of both",
	},
	{
		"mapped is multicast", "mapped: 203.0.113.80}", "mapped: 224.0.0.1}",
		"cluster.yaml:46: nat.rules[2].mapped 224.0.0.1 is not unicast; write mapped: 203.0.113.80",
	},
	{
		"mapped is everything", "original: 10.1.8.80, mapped: 203.0.113.80", "original: 0.0.0.0/0, mapped: 0.0.0.0/0",
		"cluster.yaml:46: nat.rules[2].original 0.0.0.0/0 is not unicast; write original: 10.1.8.80\ncluster.yaml:46: nat.rules[2].mapped 0.0.0.0/0 is not unicast; write mapped: 203.0.113.80",
	},
	{
		"mapped is no address", "mapped: 203.0.113.80}", "mapped: 00}",
		"cluster.yaml:46: nat.rules[2].mapped 00 is not an IPv4 address; write mapped: 203.0.113.80",
	},
	{
		"mapped is a node's address", "mapped: 203.0.113.80}", "mapped: 198.51.100.3}",
		"cluster.yaml:46: nat.rules[2].mapped 198.51.100.3 overlaps the nodes' addresses 198.51.100.1-198.51.100.16 of interface outside; use addresses that the routers route to the cluster",
	},
	{
		"mapped is around an interface", "original: 10.1.8.80, mapped: 203.0.113.80", "original: 10.5.0.0/16, mapped: 10.1.0.0/16",
		"cluster.yaml:46: nat.rules[2].mapped 10.1.0.0/16 overlaps the cluster_address 10.1.0.254 of interface inside; use addresses that the routers route to the cluster",
	},
	{
		"mapped of a pool", "mapped: 203.0.113.80}", "mapped: 203.0.113.10}",
		"cluster.yaml:46: nat.rules[2].mapped 203.0.113.10 overlaps address 203.0.113.10 of pool egress (line 42); map to an address of no pool, or forward ports below 1024 with type: static-pat",
	},
	{
		"mapped of a pool of addresses", "mapped: 203.0.113.81,", "mapped: 203.0.113.70,",
		"cluster.yaml:47: nat.rules[3].mapped 203.0.113.70 overlaps address 203.0.113.70 of pool direct (line 43); map to an address of no pool",
	},
	{
		"mapped_port of a pool", "mapped: 203.0.113.81,", "mapped: 203.0.113.10,",
		"cluster.yaml:47: nat.rules[3].mapped_port 2222 of 203.0.113.10 is lent out by pool egress (line 42); write a port below 1024, or map to an address of no pool",
	},
	{
		"mapped overlaps", "mapped: 203.0.113.81, protocol", "mapped: 203.0.113.80, protocol",
		"cluster.yaml:47: nat.rules[3].mapped 203.0.113.80:2222 overlaps that of rule web (line 46); give every mapping an address or a port of its own",
	},
	{
		"originals overlap", "{name: pool1, type: dynamic, from: inside, to: outside, source: 10.2.0.0/16, pool: direct, filtering: endpoint-independent}", "{name: web2, type: static, from: any, to: outside, original: 10.1.8.80, mapped: 203.0.113.90}",
		"cluster.yaml:48: nat.rules[4].original 10.1.8.80 overlaps that of rule web (line 46): a host has one mapped address at an interface; remove one, or name another interface or destination",
	},
	{
		"the same mapping at an interface and at any", "{name: pool1, type: dynamic, from: inside, to: outside, source: 10.2.0.0/16, pool: direct, filtering: endpoint-independent}", "{name: ssh2, type: static-pat, from: inside, to: any, original: 10.1.8.81, mapped: 203.0.113.81, protocol: tcp, original_port: 22, mapped_port: 2222}",
		"cluster.yaml:48: nat.rules[4].mapped 203.0.113.81:2222 overlaps that of rule ssh (line 47); give every mapping an address or a port of its own",
	},
	{
		"mappings that meet by hairpinning", "{name: pool1, type: dynamic, from: inside, to: outside, source: 10.2.0.0/16, pool: direct, filtering: endpoint-independent}", "{name: ssh2, type: static-pat, from: inside, to: inside, original: 10.1.8.82, mapped: 203.0.113.81, protocol: tcp, original_port: 22, mapped_port: 2222}",
		"cluster.yaml:48: nat.rules[4].mapped 203.0.113.81:2222 overlaps that of rule ssh (line 47); give every mapping an address or a port of its own",
	},
	{
		"the later rule is the wider one", "{name: pool1, type: dynamic, from: inside, to: outside, source: 10.2.0.0/16, pool: direct, filtering: endpoint-independent}", "{name: net, type: static, from: inside, to: outside, original: 10.1.9.0/28, mapped: 203.0.113.80/28}",
		"cluster.yaml:48: nat.rules[4].mapped 203.0.113.80/28 overlaps that of rule web (line 46); give every mapping an address or a port of its own",
	},
	{
		"a pool for any and a named interface", "{name: voice, type: dynamic-pat, from: inside, to: outside", "{name: voice, type: dynamic-pat, from: inside, to: any",
		"cluster.yaml:50: nat.rules[6].pool egress serves a named interface here and any in rule voice (line 49); name the interface in both, or use two pools",
	},
	{
		"mapped_port of a pool with reserved ports", "", "interfaces:\n  a: {device: a0, trust: 1, cluster_address: 10.1.0.1/24, pool: 10.1.0.2}\n  b: {device: b0, trust: 2, cluster_address: 10.2.0.1/24, pool: 10.2.0.2}\nnat:\n  pools: {p: {addresses: 192.0.2.1, include_reserved: true}}\n  rules:\n    - {name: web, type: static-pat, from: a, to: b, original: 10.1.8.80, mapped: 192.0.2.1, protocol: tcp, original_port: 80, mapped_port: 80}\n",
		"cluster.yaml:7: nat.rules[1].mapped 192.0.2.1 overlaps address 192.0.2.1 of pool p (line 5); map to an address of no pool",
	},
	{
		"a pool where there are none", "", "interfaces:\n  a: {device: a0, trust: 1, cluster_address: 10.1.0.1/24, pool: 10.1.0.2}\nnat:\n  rules:\n    - {name: out, type: dynamic-pat, from: a, to: any, pool: p}\n",
		"cluster.yaml:5: nat.rules[1].pool p is not a pool; add pools: {p: {addresses: [203.0.113.10-203.0.113.11]}}",
	},
}

// natWithoutOutside is what the nat section of the example says besides when
// there is no interface outside.
const natWithoutOutside = `
cluster.yaml:45: nat.rules[1].to outside is not an interface; known interfaces: inside, any
cluster.yaml:46: nat.rules[2].to outside is not an interface; known interfaces: inside, any
cluster.yaml:47: nat.rules[3].to outside is not an interface; known interfaces: inside, any
cluster.yaml:48: nat.rules[4].to outside is not an interface; known interfaces: inside, any
cluster.yaml:49: nat.rules[5].to outside is not an interface; known interfaces: inside, any
cluster.yaml:50: nat.rules[6].to outside is not an interface; known interfaces: inside, any`
