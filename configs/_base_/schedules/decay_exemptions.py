# What weight decay leaves alone: norms, biases, layer scales, and the scan's A_log and D, which
# its authors mark as exempt.
optim_wrapper = dict(
    paramwise_cfg=dict(
        norm_decay_mult=0.0,
        bias_decay_mult=0.0,
        custom_keys={
            'mixer.A_log': dict(decay_mult=0.0),
            'mixer.D': dict(decay_mult=0.0),
            'gamma_1': dict(decay_mult=0.0),
            'gamma_2': dict(decay_mult=0.0),
        },
    )
)
