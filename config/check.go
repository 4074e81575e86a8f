package config

import (
	"fmt"
	"os"

	"go.yaml.in/yaml/v3"

	"cohort/nat"
)

// Kind tells the two files apart.
type Kind string

// The kinds of configuration files.
const (
	KindNode    Kind = "bootstrap file"
	KindCluster Kind = "cluster configuration"
)

// Check reads a file of either kind as a daemon would, with everything that a
// bootstrap file names, and says which kind it is.
func Check(path string) (Kind, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return "", readError(path, err)
	}
	if kindOf(data) == KindCluster {
		c, err := ParseCluster(path, data)
		if err != nil {
			return KindCluster, err
		}
		return KindCluster, c.checkRules(path)
	}
	n, err := LoadNode(path)
	if err != nil {
		return KindNode, err
	}
	if _, err := LoadKeys(n.KeyFile); err != nil {
		return KindNode, err
	}
	if n.Config == "" {
		return KindNode, nil
	}
	c, err := LoadCluster(n.Config)
	if err != nil {
		return KindNode, err
	}
	if err := c.checkRules(n.Config); err != nil {
		return KindNode, err
	}
	return KindNode, c.Fits(n.Config, n)
}

// kindOf looks at the top-level names only.
func kindOf(data []byte) Kind {
	root := document(&problems{}, data, "")
	if root == nil || root.Kind != yaml.MappingNode {
		return KindNode
	}
	for i := 0; i < len(root.Content); i += 2 {
		switch root.Content[i].Value {
		case "cluster", "node", "ccl", "key_file":
			return KindNode
		case "interfaces", "policy", "nat", "health", "timeouts", "limits":
			return KindCluster
		}
	}
	return KindNode
}

// checkRules compiles what was accepted rule by rule.
func (c *Cluster) checkRules(file string) error {
	if _, err := c.CompilePolicy(); err != nil {
		return Errors{{File: file, Line: 1, Problem: err.Error(), Mend: "simplify the rules"}}
	}
	if _, err := nat.Compile(c.NAT); err != nil {
		return Errors{{File: file, Line: 1, Problem: err.Error(), Mend: "change this rule or pool"}}
	}
	return nil
}

// maxMTUIPv6 is the largest data MTU where VTEPs have IPv6 addresses: the link's
// 9198 less 174, which is 20 more than over IPv4 (CL2, CL9).
const maxMTUIPv6 = 9024

// Fits checks the cluster configuration (of this file) against a node's
// bootstrap file: the link must be apart from the data interfaces (CL1),
// and carry their packets whole (CL2).
func (c *Cluster) Fits(file string, n *Node) error {
	p := problems{file: file}
	for _, i := range c.Interfaces {
		if i.Device == n.CCL.Interface {
			p.add(i.line, fmt.Sprintf("interfaces.%s.device %s is the cluster control link of node %s", i.Name, i.Device, n.Name), "use another device for one of them")
		}
		if n.CCL.Address.Addr().Is6() && i.MTU > maxMTUIPv6 {
			p.add(i.line, fmt.Sprintf("interfaces.%s.mtu %d is more than %d, which is all that fits a cluster control link over IPv6, as node %s has", i.Name, i.MTU, maxMTUIPv6, n.Name), fmt.Sprintf("write mtu: %d", maxMTUIPv6))
		}
		for _, a := range i.ClusterAddresses() {
			if a.Masked().Overlaps(n.CCL.Address.Masked()) {
				p.add(i.line, fmt.Sprintf("interfaces.%s.cluster_address %s overlaps the cluster control link's network %s", i.Name, a, n.CCL.Address.Masked()), "give the link a network of its own")
			}
		}
	}
	return p.err()
}
