package scenario

import (
	"fmt"
	"iter"
	"math"
	"time"

	"servebench/datasets"
	"servebench/internal/numpy"
	"servebench/loadgen"
	"servebench/loadgen/schedule"
)

// prompts is how many samples the load needs.
func (s *Scenario) prompts() int {
	if len(s.Stages) == 0 && s.Load.Duration == 0 {
		return s.Load.Requests
	}
	total, users := 0, 0
	for _, l := range s.loads() {
		if l.Requests == 0 {
			if n := s.Dataset.Prompts; n > 0 {
				return n
			}
		}
		total += l.Requests
		if !l.Rate.Infinite() && l.Requests == 0 {
			total += int(math.Ceil(float64(*l.Rate)*time.Duration(l.Duration).Seconds()*1.2)) + 10
		}
		users = max(users, l.Concurrency)
	}
	return max(total, 1000, 20*users)
}

// loads are the stages, or the one load as a stage.
func (s *Scenario) loads() []Stage {
	if len(s.Stages) > 0 {
		return s.Stages
	}
	return []Stage{{Load: s.Load}}
}

// stages turns the load into the engine's stages. rng is NumPy's global generator as loading the dataset left
// it: the arrivals of vLLM's client come from there.
func (s *Scenario) stages(set datasets.Dataset, rng *numpy.Legacy) ([]loadgen.Stage, error) {
	var stages []loadgen.Stage
	for i, l := range s.loads() {
		stage := loadgen.Stage{Name: l.Name, Count: l.Requests, For: time.Duration(l.Duration)}
		due, err := s.due(&l, i, set, rng)
		switch {
		case err != nil:
			return nil, err
		case due != nil:
			stage.Due, stage.Limit = due, l.Concurrency
		case s.compat() && l.Concurrency > 0 && l.Requests > 0:
			// vLLM's client has every request wait for the limit from the start.
			stage.Due, stage.Limit = schedule.AllAtOnce(l.Requests), l.Concurrency
		case l.Concurrency > 0:
			stage.Users, stage.Think, stage.MaxRate = l.Concurrency, time.Duration(l.Think), l.MaxRate
		default:
			stage.Due = schedule.AllAtOnce(l.Requests)
		}
		stages = append(stages, stage)
	}
	return stages, nil
}

// due is when the requests of an open loop are due; nil for a closed one.
func (s *Scenario) due(l *Stage, number int, set datasets.Dataset, rng *numpy.Legacy) (iter.Seq[time.Duration], error) {
	shape := 1.0
	switch {
	case l.Arrival == "constant":
		shape = math.Inf(1)
	case l.Burstiness != nil:
		shape = float64(*l.Burstiness)
	}
	switch {
	case l.Replay:
		times := make([]float64, set.Len())
		for i := range times {
			sample := set.At(i)
			times[i] = sample.Timestamp
		}
		return schedule.Replay(times), nil
	case l.Ramp != nil && l.Duration == 0 && whole(l.Ramp.From) && whole(l.Ramp.To):
		return schedule.VLLM{Burstiness: shape, Ramp: l.Ramp.Shape, Start: int(l.Ramp.From), End: int(l.Ramp.To)}.Due(l.Requests, rng)
	case l.Ramp != nil:
		stage := schedule.Stage{Kind: l.Ramp.Shape, Rate: l.Ramp.From, To: l.Ramp.To, Burstiness: shape, Requests: l.Requests,
			Duration: time.Duration(l.Duration), Seed: uint32(s.Seed) + uint32(number)}
		return stage.Due(), stage.Check()
	case l.Rate.Infinite():
		return nil, nil
	case l.Duration == 0 && len(s.Stages) == 0:
		return schedule.VLLM{Rate: float64(*l.Rate), Burstiness: shape}.Due(l.Requests, rng)
	}
	stage := schedule.Stage{Kind: "gamma", Rate: float64(*l.Rate), Burstiness: shape, Requests: l.Requests,
		Duration: time.Duration(l.Duration), Seed: uint32(s.Seed) + uint32(number)}
	if err := stage.Check(); err != nil {
		return nil, fmt.Errorf("stages.%d: %w", number, err)
	}
	return stage.Due(), nil
}

func whole(f float64) bool { return f == math.Trunc(f) }
