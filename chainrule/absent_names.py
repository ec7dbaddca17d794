"""What PyTorch has and chainrule has not, and why: the one source of the messages and of docs/reference/pytorch.md.

`python -m chainrule.absent_names` prints the list.
"""

from __future__ import annotations

import textwrap

__all__ = ["ABSENT", "listing"]

# for each of PyTorch's modules and classes: why -> the names
ABSENT: dict[str, dict[str, str]] = {
    "torch": {
        "PyTorch's compiler of scripts, its dispatcher and its own tools, which a program does not need": (
            "AVG AcceleratorError AggregationType AliasDb AnyType Argument ArgumentSpec AwaitType "
            "BenchmarkConfig BenchmarkExecutionStats Block BoolType BufferDict CallStack Capsule ClassType "
            "Code CompilationUnit CompleteArgumentSpec ComplexType ConcreteModuleType "
            "ConcreteModuleTypeBuilder DeepCopyMemoTable DeserializationStorageContext DeviceObjType DictType "
            "DisableTorchFunction DisableTorchFunctionSubclass DispatchKey DispatchKeySet EnumType "
            "ErrorReport ExcludeDispatchKeyGuard ExecutionPlan FatalError FileCheck FloatType FunctionSchema "
            "Future FutureType Gradient Graph GraphExecutorState IODescriptor InferredType IntType "
            "InterfaceType JITException ListType LiteScriptModule LockingLogger LoggerBase ModuleDict Node "
            "NoneType NoopLogger NumberType OperatorInfo OptionalType PRIVATE_OPS ParameterDict PyObjectType "
            "PyTorchFileReader PyTorchFileWriter RRefType SUM ScriptClass ScriptClassFunction ScriptDict "
            "ScriptDictIterator ScriptDictKeyIterator ScriptFunction ScriptList ScriptListIterator "
            "ScriptMethod ScriptModule ScriptModuleSerializer ScriptObject ScriptObjectProperty "
            "SerializationStorageContext StaticModule StorageBase StreamObjType StringType SymBool "
            "SymBoolType SymFloat SymInt SymIntType Tag TensorType ThroughputBenchmark TracingState TupleType "
            "Type USE_GLOBAL_DEPS USE_RTLD_GLOBAL_WITH_LIBTORCH UnionType Use Value alpha_dropout_ ao classes "
            "classproperty compiled_with_cxx11_abi contrib cpp feature_alpha_dropout_ feature_dropout_ fork "
            "functional futures get_file_path has_lapack has_mkl has_openmp has_spectral import_ir_module "
            "import_ir_module_from_buffer init_num_threads legacy_contiguous_format "
            "merge_type_from_type_comment monitor nativert numa overrides parse_ir parse_schema "
            "parse_type_comment prepare_multiprocessing_environment "
            "profiler_allow_cudagraph_cupti_lazy_reinit_cuda12 return_types rrelu_ set_anomaly_enabled "
            "storage thread_safe_generator to_dlpack torch_version unify_type_list wait windows "
        ),
        "the memory behind a tensor is its array; see Tensor.untyped_storage": (
            "BFloat16Storage BoolStorage ByteStorage CharStorage ComplexDoubleStorage ComplexFloatStorage "
            "DoubleStorage FloatStorage HalfStorage IntStorage LongStorage QInt32Storage QInt8Storage "
            "QUInt2x4Storage QUInt4x2Storage QUInt8Storage ShortStorage Storage TypedStorage UntypedStorage "
        ),
        "NumPy has no such type; use float32, complex64 or uint8": (
            "BFloat16Tensor bit bits16 bits1x8 bits2x4 bits4x2 bits8 chalf complex32 float4_e2m1fn_x2 "
            "float8_e4m3fn float8_e4m3fnuz float8_e5m2 float8_e5m2fnuz float8_e8m0fnu int1 int2 int3 int4 int5 "
            "int6 int7 uint1 uint2 uint3 uint4 uint5 uint6 uint7 "
        ),
        "there are no streams: an operation is done when it returns": ("Stream "),
        "not written yet": (
            "addmv_ embedding_bag embedding_renorm_ hash_tensor histogram histogramdd nonzero_static "
            "norm_except_dim segment_reduce "
        ),
        "an internal form of a view; use the view and clone()": (
            "alias_copy as_strided_ as_strided_copy as_strided_scatter ccol_indices_copy col_indices_copy "
            "crow_indices_copy detach_copy diagonal_copy expand_copy indices_copy permute_copy row_indices_copy "
            "select_copy slice_copy slice_inverse split_copy split_with_sizes_copy squeeze_copy t_copy "
            "transpose_copy unbind_copy unfold_copy unsafe_chunk unsafe_split unsafe_split_with_sizes "
            "unsqueeze_copy values_copy view_as_complex_copy view_as_real_copy view_copy "
        ),
        "operations keep the types of their tensors": (
            "autocast_decrement_nesting autocast_increment_nesting clear_autocast_cache get_autocast_cpu_dtype "
            "get_autocast_dtype get_autocast_gpu_dtype get_autocast_ipu_dtype get_autocast_xla_dtype "
            "is_autocast_cache_enabled is_autocast_cpu_enabled is_autocast_ipu_enabled is_autocast_xla_enabled "
            "set_autocast_cache_enabled set_autocast_cpu_dtype set_autocast_cpu_enabled set_autocast_dtype "
            "set_autocast_enabled set_autocast_gpu_dtype set_autocast_ipu_dtype set_autocast_ipu_enabled "
            "set_autocast_xla_dtype set_autocast_xla_enabled "
        ),
        "one of the kernels or devices of PyTorch's libraries; use the function in nn.functional": (
            "batch_norm_backward_elemt batch_norm_backward_reduce batch_norm_elemt batch_norm_gather_stats "
            "batch_norm_gather_stats_with_counts batch_norm_stats batch_norm_update_stats "
            "cudnn_affine_grid_generator cudnn_batch_norm cudnn_convolution cudnn_convolution_add_relu "
            "cudnn_convolution_relu cudnn_convolution_transpose cudnn_grid_sampler cudnn_is_acceptable "
            "fbgemm_linear_fp16_weight fbgemm_linear_fp16_weight_fp32_activation fbgemm_linear_int8_weight "
            "fbgemm_linear_int8_weight_fp32_activation fbgemm_pack_gemm_matrix_fp16 get_device_module "
            "is_vulkan_available miopen_batch_norm miopen_convolution miopen_convolution_add_relu "
            "miopen_convolution_relu miopen_convolution_transpose miopen_ctc_loss miopen_depthwise_convolution "
            "miopen_rnn mkldnn_adaptive_avg_pool2d mkldnn_convolution mkldnn_linear_backward_weights "
            "mkldnn_max_pool2d mkldnn_max_pool3d mkldnn_rnn_layer mtia native_batch_norm native_channel_shuffle "
            "native_dropout native_group_norm native_layer_norm native_norm "
        ),
        "there is no quantisation": (
            "choose_qparams_optimized dequantize empty_quantized fake_quantize_per_channel_affine "
            "fake_quantize_per_tensor_affine fbgemm_linear_quantize_weight fbgemm_pack_quantized_matrix "
            "fused_moving_avg_obs_fake_quant int_repr per_channel_affine per_channel_affine_float_qparams "
            "per_channel_symmetric per_tensor_affine per_tensor_symmetric q_per_channel_axis q_per_channel_scales "
            "q_per_channel_zero_points q_scale q_zero_point qint32 qint8 qscheme quantization "
            "quantize_per_channel quantize_per_tensor quantize_per_tensor_dynamic quantized_batch_norm "
            "quantized_gru quantized_gru_cell quantized_lstm quantized_lstm_cell quantized_max_pool1d "
            "quantized_max_pool2d quantized_max_pool3d quantized_rnn_relu_cell quantized_rnn_tanh_cell quint2x4 "
            "quint4x2 quint8 "
        ),
        "programs are not made of graphs to be exported; compile takes whole functions": (
            "cond export fx library while_loop "
        ),
        "arrays are dense; SciPy has sparse ones": (
            "dsmm hsmm hspmm resize_as_sparse_ saddmm smm sparse sparse_bsc sparse_bsc_tensor sparse_bsr "
            "sparse_bsr_tensor sparse_compressed_tensor sparse_coo sparse_coo_tensor sparse_csc sparse_csc_tensor "
            "sparse_csr sparse_csr_tensor spmm sspaddmm "
        ),
        "PyTorch has removed it as well; use linalg": ("eig lstsq matrix_rank solve symeig "),
        "nothing is downloaded or unpacked; use load for files": ("from_file package "),
        "use linalg.qr, linalg.eigh": ("geqrf lobpcg orgqr ormqr "),
        "use nn.GRU, nn.LSTM, nn.RNN and their cells": (
            "gru gru_cell lstm lstm_cell rnn_relu rnn_relu_cell rnn_tanh rnn_tanh_cell "
        ),
        "tensors have one length along an axis; pad them, or use nn.utils.rnn": ("jagged nested "),
        "use SciPy's: scipy.signal.windows, scipy.stats.qmc": ("quasirandom signal "),
        "sizes are numbers": (
            "sym_constrain_range sym_constrain_range_for_size sym_float sym_fresh_size sym_int sym_ite sym_max "
            "sym_min sym_not sym_sqrt sym_sum "
        ),
    },
    "torch.Tensor": {
        "an internal form of a view; use the view and clone()": (
            "as_strided_ as_strided_scatter slice_inverse unsafe_chunk unsafe_split unsafe_split_with_sizes "
        ),
        "PyTorch's compiler of scripts, its dispatcher and its own tools, which a program does not need": (
            "as_subclass grad_dtype index module_load new_empty_strided record_stream storage_type to_mkldnn "
        ),
        "arrays are dense; SciPy has sparse ones": (
            "ccol_indices coalesce col_indices crow_indices dense_dim indices resize_as_sparse_ row_indices smm "
            "sparse_dim sparse_mask sparse_resize_ sparse_resize_and_clear_ sspaddmm to_padded_tensor to_sparse "
            "to_sparse_bsc to_sparse_bsr to_sparse_coo to_sparse_csc to_sparse_csr values "
        ),
        "NumPy has no such type; use float32, complex64 or uint8": ("chalf "),
        "there is no quantisation": (
            "dequantize int_repr q_per_channel_axis q_per_channel_scales q_per_channel_zero_points q_scale "
            "q_zero_point qscheme "
        ),
        "PyTorch has removed it as well; use linalg": ("eig lstsq solve symeig "),
        "use linalg.qr, linalg.eigh": ("geqrf orgqr ormqr "),
        "not written yet": ("hash_tensor histogram nonzero_static "),
        "one of the kernels or devices of PyTorch's libraries; use the function in nn.functional": ("mtia "),
        "PyTorch has removed it as well; use torch.distributions, no_grad": ("reinforce volatile "),
    },
    "torch.linalg": {
        "use linalg.qr, linalg.solve": ("common_notes householder_product ldl_factor ldl_factor_ex ldl_solve "),
    },
    "torch.autograd": {
        "PyTorch's compiler of scripts, its dispatcher and its own tools, which a program does not need": (
            "DeviceType NestedIOFunction ProfilerActivity ProfilerConfig ProfilerEvent ProfilerState SavedTensor "
            "enforce_grad_layout_policy handle_torch_function has_torch_function is_multithreading_enabled "
            "is_tensor_like is_view_replay_enabled kineto_available profiler_legacy profiler_util "
            "set_multithreading_enabled "
        ),
        "use func.jvp, or autograd.functional.jvp": ("forward_ad "),
        "gradients are saved as arrays; there are no hooks on saving": ("graph "),
    },
    "torch.nn": {
        "use nn.LocalResponseNorm": ("CrossMapLRN2d "),
        "PyTorch's compiler of scripts, its dispatcher and its own tools, which a program does not need": (
            "LinearCrossEntropyOptions backends common_types cpp factory_kwargs grad "
        ),
        "one process trains; use the BatchNorm layers": ("SyncBatchNorm "),
        "there is no quantisation": ("intrinsic qat quantizable quantized "),
    },
    "torch.nn.Module": {
        "there is one device, the cpu; use to()": ("ipu mtia xpu "),
    },
    "torch.nn.utils": {
        "elements always lie in order": (
            "convert_conv2d_weight_memory_format convert_conv3d_weight_memory_format memory_format "
        ),
    },
    "torch.nn.functional": {
        "PyTorch's compiler of scripts, its dispatcher and its own tools, which a program does not need": (
            "BroadcastingList1 BroadcastingList2 BroadcastingList3 DType GRID_SAMPLE_INTERPOLATION_MODES "
            "GRID_SAMPLE_PADDING_MODES assert_int_or_pair boolean_dispatch handle_torch_function "
            "has_torch_function has_torch_function_unary has_torch_function_variadic reproducibility_notes "
            "sparse_support_notes tf32_notes "
        ),
        "for other devices": ("ScalingType SwizzleType grouped_mm scaled_grouped_mm scaled_mm "),
        "autograd.grad computes them": ("grad "),
    },
    "torch.optim": {
        "gradients here are dense arrays; use Adam": ("SparseAdam swap_in_optimizer_params_and_state "),
    },
    "torch.utils": {
        "PyTorch's compiler of scripts, its dispatcher and its own tools, which a program does not need": (
            "ThroughputBenchmark backcompat backend_registration bundled_inputs cmake_prefix_path collect_env "
            "cpp_backtrace debug_log deterministic file_baton flop_counter "
            "generate_methods_for_privateuse1_backend get_cpp_backtrace hipify hooks jit mkldnn "
            "mobile_optimizer model_dump module_tracker rename_privateuse1_backend serialization set_module "
            "show_pickle swap_tensors throughput_benchmark viz weak "
        ),
        "nothing is downloaded or compiled": ("cpp_extension "),
        "use timeit, or python -m benchmarks": ("benchmark bottleneck "),
    },
    "torch.utils.data": {
        "PyTorch has removed data pipes from its own documents; use Dataset, IterableDataset": (
            "DFIterDataPipe DataChunk IterDataPipe MapDataPipe argument_validation datapipes functional_datapipe "
            "graph graph_settings guaranteed_datapipes_determinism non_deterministic runtime_validation "
            "runtime_validation_disabled "
        ),
    },
    "torch.distributions": {
        "transforms of distributions; write rsample and log_prob by hand": (
            "AbsTransform AffineTransform CatTransform ComposeTransform CorrCholeskyTransform "
            "CumulativeDistributionTransform ExpTransform IndependentTransform LowerCholeskyTransform "
            "PositiveDefiniteTransform PowerTransform ReshapeTransform SigmoidTransform SoftmaxTransform "
            "SoftplusTransform StackTransform StickBreakingTransform TanhTransform Transform "
            "TransformedDistribution "
        ),
        "seldom used; scipy.stats samples it": (
            "Beta Binomial Cauchy Chi2 ContinuousBernoulli Dirichlet ExponentialFamily FisherSnedecor Gamma "
            "GeneralizedPareto Geometric Gumbel HalfCauchy HalfNormal InverseGamma Kumaraswamy LKJCholesky "
            "LogisticNormal LowRankMultivariateNormal MixtureSameFamily Multinomial NegativeBinomial "
            "OneHotCategoricalStraightThrough Pareto RelaxedBernoulli RelaxedOneHotCategorical StudentT VonMises "
            "Weibull Wishart "
        ),
        "parameters are checked when a distribution is made; there are no constraint objects": (
            "biject_to constraint_registry constraints identity_transform transform_to transforms "
        ),
    },
}


def listing() -> str:
    """The names by module and reason, as Markdown."""
    lines = []
    for owner, reasons in ABSENT.items():
        lines += [f"### `{owner}`", ""]
        for reason, names in reasons.items():
            text = f"- {reason[0].upper()}{reason[1:]}: {', '.join(f'`{name}`' for name in names.split())}."
            lines += [*textwrap.wrap(text, 118, subsequent_indent="  ", break_on_hyphens=False), ""]
    return "\n".join(lines)


if __name__ == "__main__":
    print(listing(), end="")
