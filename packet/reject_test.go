package packet

import "testing"

// TestMG5_EveryRejectIsDescribed in words of its own.
func TestMG5_EveryRejectIsDescribed(t *testing.T) {
	names, texts := map[string]Reject{}, map[string]Reject{}
	for r := OK; r < rejects; r++ {
		if was, twice := names[r.String()]; twice || r.String() == "" {
			t.Errorf("reason %d is named %q, as %d is", r, r, was)
		}
		if was, twice := texts[r.Describe()]; twice || r.Describe() == "" {
			t.Errorf("%v is described as %q, as %v is", r, r.Describe(), was)
		}
		names[r.String()], texts[r.Describe()] = r, r
	}
	if rejects.String() != "invalid" || rejects.Describe() == "" {
		t.Errorf("what is no reason is called %q: %q", rejects, rejects.Describe())
	}
}
