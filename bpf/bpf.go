package bpf

// The shared structs under short names; layout.h describes every field.
// flowtable has its own Go side of the flow table's structs; a test proves that
// both are laid out as in C.
type (
	Control = DataControl // map "control", one element
	Iface   = DataIface   // map "ifaces", by logical id
	Member  = DataMember  // map "members", by node id
	Nexthop = DataNexthop // map "nexthops"; Seq is odd while Go writes the rest
	Punt    = DataPunt    // in front of every packet that Go receives

	Delegation = DataDelegation // map "delegations"

	NATAddress = DataNatAddress // map "nat_addrs", by address in network byte order
	NATUnits   = DataNatUnits   // map "nat_units", by unit / NATUnitsLine
)

// Constants of layout.h and maps.h that Go needs too.
const (
	LayoutVersion = 7

	ControlSlowOnly = 0x1 // Control.Flags: every packet to Go
	NexthopValid    = 0x1 // Nexthop.Flags
	MemberAlive     = 0x1 // Member.Flags
	MemberSelf      = 0x2

	MaxNodes      = 64
	MaxIfaces     = 32
	MaxNexthops   = 4096
	MaxLocalAddrs = 1024
	MaxNATAddrs   = 1024
	MaxNATUnits   = 32768
	NATUnitsLine  = 64 // units in one element of nat_units

	// XSKQueues and XSKCCL place an AF_XDP socket in the xsks map: at
	// logical interface * XSKQueues + receive queue, where the CCL counts as
	// interface XSKCCL.
	XSKQueues = 16
	XSKCCL    = 0

	// PuntSize is the size of Punt; it ends where the packet begins.
	PuntSize  = 32
	PuntMagic = 0xc0

	// CCLPayload is where the IP packet begins in a data frame on the CCL,
	// CCLHeader where struct ccl_header does. An Ethernet frame grows by
	// CCLPayload - 14 bytes. That is over IPv4; over IPv6 all
	// three are CCLIPv6More larger.
	CCLHeader        = 64
	CCLPayload       = 80
	CCLIPv6More      = 20
	CCLPort          = 4789 // UDP, VXLAN
	CCLEthertype     = 0x88b5
	CCLHeaderVersion = 1
	CCLData          = 1
	CCLFragment      = 2
	CCLMaxHops       = 3
)
