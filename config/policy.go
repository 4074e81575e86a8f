package config

import "cohort/policy"

// CompilePolicy builds the policy of this configuration. Zone ids are the
// interfaces' ids and rule numbers their positions from 1. It fails only where
// a whole rule set is too much; single rules were checked when they were read.
func (c *Cluster) CompilePolicy() (*policy.Policy, error) {
	ids := map[string]uint8{"": policy.Any}
	zones := make([]policy.Zone, 0, len(c.Interfaces))
	for _, i := range c.Interfaces {
		ids[i.Name] = i.ID
		zones = append(zones, policy.Zone{ID: i.ID, Trust: i.Trust})
	}
	rules := make([]policy.Rule, 0, len(c.Rules))
	for _, r := range c.Rules {
		rules = append(rules, policy.Rule{
			Name: r.Name, From: ids[r.From], To: ids[r.To],
			Source: r.Source, Destination: r.Destination,
			Proto: r.Protocol, Ports: r.Ports,
			Allow: r.Allow, Durability: r.Durability,
		})
	}
	return policy.Compile(zones, rules)
}
