package track

import "testing"

func TestState_LossesInARowWithdrawAnswersInARowReturn(t *testing.T) {
	for _, c := range []struct {
		name    string
		results string // a = answer, . = loss
		want    string // + = returned, - = withdrawn, = = no change
	}{
		{"alive at the start", "aaaa", "===="},
		{"three losses", "...", "==-"},
		{"an answer between starts again", "..a..a...", "========-"},
		{"withdrawn once", ".....", "==-=="},
		{"two answers return", "...aa", "==-=+"},
		{"a loss between starts again", "...a.aa", "==-===+"},
		{"a whole life", "...aa...aa", "==-=+==-=+"},
	} {
		s := NewState(3, 2)
		got := ""
		for _, r := range c.results {
			switch changed := s.Result(r == 'a'); {
			case !changed:
				got += "="
			case s.Alive():
				got += "+"
			default:
				got += "-"
			}
		}
		if got != c.want {
			t.Errorf("%s: %s gives %s, want %s", c.name, c.results, got, c.want)
		}
	}
}
