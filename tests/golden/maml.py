"""Values for tests of the gradient learners: losses and meta-gradients in PyTorch, f64.

    pip install torch && python tests/golden/maml.py > tests/golden/maml.json

With theta the initial parameters, L_s and L_q a task's losses on support and query, and theta_k = theta_{k-1} -
rate * grad L_s(theta_{k-1}) for k in 1..S the inner loop, all means are over tasks:

    maml               d/dtheta L_q(theta_S), through the inner gradients
    fomaml             grad L_q at theta_S
    anil               as maml, but only the head takes inner steps
    meta_sgd           as maml with a rate for each element (`rates`), and the gradient with respect to them
    rates_per_step     as maml with a rate for each tensor and step (MAML++), and the gradient with respect to them
    multi_step         as maml for sum_k weights[k] L_q(theta_k) (MAML++)
    multi_step_first   sum_k weights[k] grad L_q at theta_k
    reptile            theta - theta_S, and each task's theta_S (`adapted`)
    imaml              (I + H / lambda)^-1 grad L_q(phi), H the Hessian of L_s at phi, the minimum of
                       L_s(phi) + lambda / 2 |phi - theta|^2; and what k steps of conjugate gradients from zero find
    fo_b_maml          lambda (phi(0) - phi(nu)) / nu, phi(nu) the minimum of the same with nu L_q added, and
                       lambda (phi(-nu) - phi(nu)) / (2 nu); imaml is the limit of both. Not for any seed is there a
                       minimum to differentiate: often it lies on a bend of a ReLU

The perceptron is linear, ReLU, linear; the convolutional net two blocks of convolution 3 by 3 (padding 1, no bias),
batch norm, ReLU and max pooling 2 by 2 (odd sizes rounded down), then flattened as [channels, height, width], linear.
MSE is the mean over rows and outputs. Batch norm takes the biased variance. On queries it takes statistics of the
queries themselves (`queries`), or those that the support has at the same parameters, through which gradients flow as
well (`support`). Tensors are flattened row-major in PyTorch's layouts, linear weights [out, in]. What is given has a
power of two as denominator, so that f32 holds it exactly.
"""
import random

import torch
import torch.nn.functional as F

from tensors import draw, text

torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)

EPSILON = 1e-5
# Smallest distance of any activation from a bend of ReLU or a tie of max pooling: rounding must not cross it.
margins = []


def relu(x):
    margins.append(x.abs().min().item())
    return F.relu(x)


def max_pool(x):
    cells = F.unfold(x.detach().flatten(0, 1)[:, None], 2, stride=2).sort(1).values
    gaps = cells[:, 3] - cells[:, 2]
    margins.append(gaps[cells[:, 3] > 0].min().item())
    return F.max_pool2d(x, 2)


def linear(p, name, x):
    return F.linear(x, p[f"{name}.weight"], p[f"{name}.bias"])


def mlp(p, x, statistics=None):
    return linear(p, "head", relu(linear(p, "hidden", x))), None


def conv_net(p, x, statistics=None):
    """Logits, and the mean and variance of each norm layer."""
    taken = []
    for i in range(2):
        x = F.conv2d(x, p[f"blocks.{i}.conv.weight"], padding=1)
        if statistics is None:
            mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3), correction=0)
        else:
            mean, var = statistics[i]
        taken.append((mean, var))
        # Written out, since PyTorch's own takes no gradient through statistics that it is given.
        mean, var, gamma, beta = (
            v[:, None, None] for v in (mean, var, p[f"blocks.{i}.norm.weight"], p[f"blocks.{i}.norm.bias"])
        )
        x = max_pool(relu((x - mean) / (var + EPSILON).sqrt() * gamma + beta))
    return linear(p, "head", x.flatten(1)), taken


def gradient(loss, p, create_graph=True):
    """With respect to those of `p`, zero where the loss does not depend on one."""
    found = torch.autograd.grad(
        loss, list(p.values()), create_graph=create_graph, retain_graph=True, allow_unused=True
    )
    return {n: torch.zeros_like(v) if g is None else g for (n, v), g in zip(p.items(), found)}


def flat(p):
    return torch.cat([v.flatten() for v in p.values()])


def like(vector, p):
    parts = vector.split([v.numel() for v in p.values()])
    return {n: part.reshape(v.shape) for (n, v), part in zip(p.items(), parts)}


def fresh(p):
    return {n: v.detach().clone().requires_grad_() for n, v in p.items()}


class Problem:
    def __init__(self, network, loss, tasks, parameters, inner_rate, inner_steps, normalized_by="queries"):
        self.network, self.loss, self.tasks, self.parameters = network, loss, tasks, parameters
        self.rate, self.steps, self.normalized_by = inner_rate, inner_steps, normalized_by

    def support_loss(self, p, task):
        return self.loss(self.network(p, task["support"])[0], task["support_targets"])

    def query_loss(self, p, task):
        statistics = None
        if self.normalized_by == "support":
            statistics = self.network(p, task["support"])[1]
        return self.loss(self.network(p, task["query"], statistics)[0], task["query_targets"])

    def path(self, p, task, rate, adapts=lambda name: True, second_order=True):
        """Parameters after each inner step; `rate(step, name)` is a number or a tensor."""
        steps = []
        for step in range(self.steps):
            inner = {n: v for n, v in p.items() if adapts(n)}
            grads = gradient(self.support_loss(p, task), inner, second_order)
            p = {n: v - rate(step, n) * grads[n] if n in grads else v for n, v in p.items()}
            steps.append(p)
        return steps

    def mean(self, value):
        return sum(value(task) for task in self.tasks) / len(self.tasks)

    def methods(self, rates, step_rates, weights):
        """Each method's loss and gradients."""

        def constant(step, name):
            return self.rate

        def final(p, rate=constant, **options):
            return self.mean(lambda task: self.query_loss(self.path(p, task, rate, **options)[-1], task))

        def weighted(p, **options):
            def of(task):
                path = self.path(p, task, constant, **options)
                return sum(w * self.query_loss(q, task) for w, q in zip(weights, path))

            return self.mean(of)

        def head(name):
            return name.startswith("head.")

        def learned(p):
            theta = {n: p[n] for n in self.parameters}
            return final(theta, lambda step, name: p[f"rates.{name}"])

        def learned_per_step(p):
            theta = {n: p[n] for n in self.parameters}
            return final(theta, lambda step, name: p[f"rates.{step}.{name}"])

        with_rates = self.parameters | {f"rates.{n}": v for n, v in rates.items()}
        with_step_rates = self.parameters | {
            f"rates.{step}.{n}": v for step, given in enumerate(step_rates) for n, v in given.items()
        }
        return {
            "maml": exact(final, self.parameters, all_elements=True),
            # Without a graph of the inner gradients, theta_S is theta plus a constant.
            "fomaml": derived(lambda p: final(p, second_order=False), self.parameters),
            "anil": exact(lambda p: final(p, adapts=head), self.parameters),
            "meta_sgd": exact(learned, with_rates),
            "rates_per_step": exact(learned_per_step, with_step_rates),
            "multi_step": exact(weighted, self.parameters),
            "multi_step_first": derived(lambda p: weighted(p, second_order=False), self.parameters),
            "reptile": self.reptile(constant),
        }

    def reptile(self, rate):
        theta = fresh(self.parameters)
        ends = [self.path(theta, task, rate, second_order=False)[-1] for task in self.tasks]
        direction = sum(flat(theta) - flat(end) for end in ends) / len(ends)
        return {"gradients": like(direction.detach(), theta), "adapted": [fresh(end) for end in ends]}

    def inner_minimum(self, task, theta, strength, nu):
        """The minimum of L_s + nu L_q + strength / 2 |phi - theta|^2 near theta, by gradient descent, then Newton."""

        def objective(v):
            p = like(v, self.parameters)
            return (
                self.support_loss(p, task) + nu * self.query_loss(p, task) + strength / 2 * (v - theta).square().sum()
            )

        phi = theta.clone()
        for _ in range(200):
            phi.requires_grad_()
            phi = (phi - 0.1 * torch.autograd.grad(objective(phi), phi)[0]).detach()
        for _ in range(20):
            phi.requires_grad_()
            slope = torch.autograd.grad(objective(phi), phi)[0]
            hessian = torch.autograd.functional.hessian(objective, phi.detach())
            assert torch.linalg.eigvalsh(hessian).min() > 0
            phi = (phi - torch.linalg.solve(hessian, slope)).detach()
        phi.requires_grad_()
        slope = torch.autograd.grad(objective(phi), phi)[0].abs().max().item()
        assert slope < 1e-13, f"a minimum has the slope {slope}"
        return phi.detach()

    def implicit(self, strength, nus, cg_steps):
        theta = flat(self.parameters)
        count = len(self.tasks)

        def minima(at, nu):
            return [self.inner_minimum(task, at, strength, nu) for task in self.tasks]

        def loss_at(at):
            return sum(self.query_loss(like(v, self.parameters), t) for v, t in zip(minima(at, 0), self.tasks)) / count

        phis = minima(theta, 0.0)
        solved, by_steps = [], {k: [] for k in cg_steps}
        for phi, task in zip(phis, self.tasks):
            hessian = torch.autograd.functional.hessian(
                lambda v: self.support_loss(like(v, self.parameters), task), phi
            )
            system = torch.eye(len(phi)) + hessian / strength
            point = phi.clone().requires_grad_()
            right = torch.autograd.grad(self.query_loss(like(point, self.parameters), task), point)[0]
            solved.append(torch.linalg.solve(system, right))
            for k in cg_steps:
                by_steps[k].append(conjugate_gradients(system, right, k))
        gradients = sum(solved) / count
        # The definition, by differences of the minimum's query loss.
        direction = torch.tensor([random.Random(i).uniform(-1, 1) for i in range(len(theta))])
        step = 1e-5
        difference = (loss_at(theta + step * direction) - loss_at(theta - step * direction)) / (2 * step)
        close("imaml", gradients @ direction, difference, 1e-8)

        def named(vector):
            return like(vector, self.parameters)

        def differences(nu):
            ahead, behind = sum(minima(theta, nu)) / count, sum(minima(theta, -nu)) / count
            start = sum(phis) / count
            forward, symmetric = strength * (start - ahead) / nu, strength * (behind - ahead) / (2 * nu)
            # Of first and of second order.
            size = gradients.norm()
            assert (forward - gradients).norm() < 2 * nu * size, "fo_b_maml"
            assert (symmetric - gradients).norm() < 2 * nu * nu * size + 1e-9, "fo_b_maml, symmetric"
            return {"nu": nu, "forward": named(forward), "symmetric": named(symmetric)}

        return {
            "lambda": strength,
            "imaml": {
                "loss": loss_at(theta).item(),
                "gradients": named(gradients),
                "minima": [named(phi) for phi in phis],
                "conjugate_gradients": [
                    {"steps": k, "gradients": named(sum(found) / count)} for k, found in by_steps.items()
                ],
            },
            "fo_b_maml": [differences(nu) for nu in nus],
        }


def conjugate_gradients(system, right, steps):
    x, residual = torch.zeros_like(right), right
    direction = residual
    for _ in range(steps):
        product = system @ direction
        size = residual @ residual
        rate = size / (direction @ product)
        x, residual = x + rate * direction, residual - rate * product
        direction = residual + (residual @ residual) / size * direction
    return x


def close(what, got, expected, tolerance):
    error = (got - expected).abs().max() / expected.abs().max()
    assert error < tolerance, f"{what}: {error.item()}"


def derived(loss_of, p):
    p = fresh(p)
    loss = loss_of(p)
    return {"loss": loss.item(), "gradients": gradient(loss, p, create_graph=False)}


def exact(loss_of, p, all_elements=False):
    """As `derived`, checked against central differences: of each element, or along five directions."""
    result = derived(loss_of, p)
    start, found = flat(p), flat(result["gradients"])
    rng = random.Random(5)
    if all_elements:
        directions = torch.eye(len(start))
    else:
        directions = torch.tensor([[rng.uniform(-1, 1) for _ in start] for _ in range(5)])
    step = 1e-6
    # A step so short crosses no bend.
    kept = len(margins)

    def loss_at(vector):
        return loss_of(fresh(like(vector, p))).detach()

    differences = torch.stack([loss_at(start + step * d) - loss_at(start - step * d) for d in directions]) / (2 * step)
    del margins[kept:]
    close("meta-gradient", directions @ found, differences, 1e-7)
    return result


def learned_rates(rng, parameters, rate, steps):
    """A rate for each element, and one for each tensor and step, around `rate`."""
    element = {n: draw(rng, *v.shape, scale=rate / 2, around=rate, unit=1024) for n, v in parameters.items()}
    tensor = [
        {n: draw(rng, scale=rate / 2, around=rate, unit=1024) for n in parameters} for _ in range(steps)
    ]
    return element, tensor


def described(problem, rates, step_rates, weights, normalized_by):
    results = {}
    for problem.normalized_by in normalized_by:
        results[problem.normalized_by] = problem.methods(rates, step_rates, weights)
    return {
        "tasks": problem.tasks,
        "parameters": problem.parameters,
        "inner_rate": problem.rate,
        "inner_steps": problem.steps,
        "rates": rates,
        "step_rates": step_rates,
        "step_weights": weights,
        "normalized_by": results,
    }


def mlp_problem(loss, seed):
    rng = random.Random(seed)
    rows = {"support": 4, "query": 3}
    tasks = []
    for _ in range(2):
        task = {part: draw(rng, count, 3) for part, count in rows.items()}
        for part, count in rows.items():
            if loss is F.mse_loss:
                task[f"{part}_targets"] = draw(rng, count, 2)
            else:
                task[f"{part}_targets"] = torch.arange(count) % 2
        tasks.append(task)
    parameters = {
        "hidden.weight": draw(rng, 5, 3),
        "hidden.bias": draw(rng, 5, scale=0.3),
        "head.weight": draw(rng, 2, 5),
        "head.bias": draw(rng, 2, scale=0.3),
    }
    problem = Problem(mlp, loss, tasks, parameters, inner_rate=0.1, inner_steps=3)
    rates = learned_rates(rng, parameters, problem.rate, problem.steps)
    found = described(problem, *rates, [0.125, 0.25, 0.625], ["queries"])
    if loss is F.mse_loss:
        found["implicit"] = problem.implicit(2.0, [1e-2, 1e-4], [1, 2, 4, 8])
    return found


def conv_problem(seed):
    rng = random.Random(seed)
    ways, shots, queries = 3, 2, 1
    tasks = [
        {
            "support": draw(rng, ways * shots, 1, 9, 7, unit=64),
            "query": draw(rng, ways * queries, 1, 9, 7, unit=64),
            "support_targets": torch.arange(ways).repeat_interleave(shots),
            "query_targets": torch.arange(ways).repeat_interleave(queries),
        }
        for _ in range(2)
    ]
    parameters = {}
    for i, inputs in enumerate([1, 3]):
        parameters |= {
            f"blocks.{i}.conv.weight": draw(rng, 3, inputs, 3, 3, scale=0.5),
            f"blocks.{i}.norm.weight": draw(rng, 3, scale=0.2, around=1),
            f"blocks.{i}.norm.bias": draw(rng, 3, scale=0.2),
        }
    parameters |= {"head.weight": draw(rng, 3, 6, scale=0.6), "head.bias": draw(rng, 3, scale=0.2)}
    problem = Problem(conv_net, F.cross_entropy, tasks, parameters, inner_rate=0.05, inner_steps=2)
    rates = learned_rates(rng, parameters, problem.rate, problem.steps)
    return described(problem, *rates, [0.375, 0.625], ["queries", "support"])


def main():
    found = {"torch": torch.__version__}
    for name, problem, least in [
        ("mlp_mse", lambda: mlp_problem(F.mse_loss, 33), 1e-3),
        ("mlp_cross_entropy", lambda: mlp_problem(F.cross_entropy, 2), 1e-3),
        ("conv", lambda: conv_problem(43), 1e-4),
    ]:
        margins.clear()
        found[name] = problem()
        assert min(margins) > least, f"{name}: an activation is {min(margins)} from a bend; take another seed"
    print(text(found))


if __name__ == "__main__":
    main()
